//go:build !linux

// Package fence gives tests memory beside which nothing can be read or written.
package fence

import "testing"

// Float32 returns n zeros.
func Float32(t testing.TB, n int, before bool) []float32 { return make([]float32, n) }
