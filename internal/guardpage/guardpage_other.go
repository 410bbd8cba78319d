//go:build !linux

// Package guardpage gives tests an ordinary slice on systems other than Linux.
package guardpage

import "testing"

// Float32 returns n zeros.
func Float32(t testing.TB, n int, before bool) []float32 { return make([]float32, n) }
