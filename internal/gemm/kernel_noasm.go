//go:build !amd64 || purego

package gemm

// sets lists every set, the fastest first.
var sets = []*set{&goSet}
