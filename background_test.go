package switchyard

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
)

// waiting is a background of so many chunks.
type waiting int

func (w waiting) Ready() int              { return int(w) }
func (waiting) Run(context.Context) error { return nil }

// TestChunksOfABackward: a backward pass runs what is ready, one collective while it is timed, and
// then no more than the tuner has found to be worth it.
func TestChunksOfABackward(t *testing.T) {
	l := &Layer{cfg: Config{Overlap: Overlap{Background: waiting(9)}}}
	require.Equal(t, 9, l.chunks(schedule.Backward))
	require.Zero(t, l.chunks(schedule.Forward))
	l.tuner = autotune.New(autotune.Config{Ranks: 2, Most: 4, Known: profileOf(4, map[int]OpSeconds{
		1: {Dispatch: 1, Experts: 8, Combine: 1, Background: 2, Collectives: 1, Whole: 12},
		4: {Dispatch: 1, Experts: 8, Combine: 1, Whole: 13},
	})})
	require.Equal(t, 4, l.chunks(schedule.Backward), "the tuner's bound")
	l.cfg.Overlap.Background = waiting(2)
	require.Equal(t, 2, l.chunks(schedule.Backward), "no more are ready")
	l.cfg.Overlap.Background = nil
	require.Zero(t, l.chunks(schedule.Backward))
}
