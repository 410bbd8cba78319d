//go:build !amd64 || purego

package gemm

// sets lists every set that this processor can run, the fastest first.
func sets() []*set { return []*set{&goSet} }
