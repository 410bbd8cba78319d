package switchyard

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/schedule"
)

// waiting is a background of so many chunks.
type waiting int

func (w waiting) Ready() int              { return int(w) }
func (waiting) Run(context.Context) error { return nil }

// TestChunksOfABackward: a backward pass runs what is ready, one chunk while it is profiled, and
// then no more than the tuner has found to be worth it.
func TestChunksOfABackward(t *testing.T) {
	l := &Layer{cfg: Config{Overlap: Overlap{Background: waiting(9)}}}
	require.Equal(t, 9, l.chunks(schedule.Backward, false))
	require.Zero(t, l.chunks(schedule.Forward, false))
	l.tuner = &tuner{chunks: 3}
	require.Equal(t, 3, l.chunks(schedule.Backward, false), "the tuner's bound")
	require.Equal(t, 1, l.chunks(schedule.Backward, true))
	l.cfg.Overlap.Background = waiting(2)
	require.Equal(t, 2, l.chunks(schedule.Backward, false), "no more are ready")
	l.cfg.Overlap.Background = waiting(0)
	require.Zero(t, l.chunks(schedule.Backward, true))
	l.cfg.Overlap.Background = nil
	require.Zero(t, l.chunks(schedule.Backward, false))
}

// TestChunksAreBounded however short they are and however long the link is idle.
func TestChunksAreBounded(t *testing.T) {
	p := profileOf(1, map[int]OpSeconds{1: {Dispatch: 1, Experts: 1000, Combine: 1, Background: 1e-3, Chunks: 1, Whole: 1002}})
	require.Equal(t, 64, p.profiled(schedule.Backward).bestChunks(1))
}
