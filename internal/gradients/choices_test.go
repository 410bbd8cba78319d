package gradients_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/gradients"
)

// TestEarlierChoices are those of the passes of the step that had chosen when a pass was begun, up
// to the first that had not.
func TestEarlierChoices(t *testing.T) {
	k := newRank(0, 1)
	reducer := gradients.New(k.cfg)
	var passes []gradients.Pass
	begin := func() *gradients.Pass {
		passes = append(passes, reducer.Begin(uint64(len(passes)+1), gradients.Comms{}))
		return &passes[len(passes)-1]
	}
	requireEarlier := func(of, wantBefore int, want []int, wantTokens int) {
		t.Helper()
		p := &passes[of]
		require.Equal(t, wantBefore, p.Before())
		choices, tokens := p.Earlier(p.Before())
		require.Equal(t, want, choices)
		require.Equal(t, wantTokens, tokens)
	}
	passes = make([]gradients.Pass, 0, 9)
	first, second := begin(), begin()
	second.Chose([]int{1, 3}, 4)
	third := begin()
	requireEarlier(2, 0, nil, 0) // the first has not chosen
	first.Chose([]int{2, 1}, 3)
	first.Chose([]int{9, 9}, 9) // when it is repeated
	fourth := begin()
	requireEarlier(3, 2, []int{3, 4}, 7)
	requireEarlier(2, 0, nil, 0)
	first.Defer(gradients.Batch{Tokens: []int{3, 0}, Counts: []int{2, 1}})
	// Chose was not told of it.
	third.Defer(gradients.Batch{Tokens: []int{0, 5}, Counts: []int{5, 0}})
	fourth.End()
	second.End() // it counts all the same
	fifth := begin()
	requireEarlier(4, 4, []int{8, 4}, 12)
	choices, tokens := fifth.Earlier(2) // another rank knows of two
	require.Equal(t, []int{3, 4}, choices)
	require.Equal(t, 7, tokens)
	fifth.End()
	require.NoError(t, reducer.Discard(t.Context()))
	begin()
	requireEarlier(5, 5, nil, 0)
}

// TestPassesWithoutChoicesTakeNoMemory: a server has any number of them, and no step.
func TestPassesWithoutChoicesTakeNoMemory(t *testing.T) {
	k := newRank(0, 1)
	reducer := gradients.New(k.cfg)
	const passes = 10000
	held := reducer.Begin(1, gradients.Comms{}) // it is under way all the time
	last := uint64(1)
	take := func() {
		for range passes {
			last++
			p := reducer.Begin(last, gradients.Comms{})
			p.Chose(nil, 0)
			p.End()
		}
	}
	take()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	take()
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(passes))
	p := reducer.Begin(last+1, gradients.Comms{})
	require.Zero(t, p.Before())
	held.End()
	p = reducer.Begin(last+2, gradients.Comms{})
	require.EqualValues(t, last, p.Before(), "the one before has not chosen")
}
