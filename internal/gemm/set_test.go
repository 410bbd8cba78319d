package gemm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// runnable returns the sets that this processor can run, the fastest first.
func runnable() []*set {
	var all []*set
	for _, s := range sets {
		if cpu.Has(s.needs) {
			all = append(all, s)
		}
	}
	return all
}

func TestFastestSetThatTheProcessorCanRun(t *testing.T) {
	for _, s := range runnable() {
		undo := cpu.Limit(s.needs)
		require.Same(t, s, fastest())
		undo()
	}
	defer cpu.Limit(0)()
	require.Same(t, &goSet, fastest())
	require.Equal(t, []*set{&goSet}, runnable())
}
