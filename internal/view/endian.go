//go:build !(386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64 || wasm)

package view

// The wire is little-endian and rows travel as they stand in memory, so a big-endian machine cannot
// take part: it fails here, at compile time, and not with wrong numbers.
var _ = switchyardNeedsALittleEndianMachine
