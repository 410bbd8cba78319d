// Package openblas calls the OpenBLAS library, in builds with the tag openblas; without it the
// package is empty. It is apart from package gemm because Go does not let one package have both C
// and Go assembly.
package openblas
