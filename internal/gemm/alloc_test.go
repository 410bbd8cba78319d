//go:build !race

package gemm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// TestNoAllocation is not for the race detector, under which sync.Pool forgets at random.
func TestNoAllocation(t *testing.T) {
	p := newProblem(seeded(t), 50, 60, 70)
	for _, s := range runnable() {
		require.Zero(t, alloctest.Least(60, func() { p.into(s, p.c) }), s.name)
	}
	require.Zero(t, alloctest.Least(60, func() { Gemm(p.tA, p.tB, p.a, p.b, 0, p.c) }))
}
