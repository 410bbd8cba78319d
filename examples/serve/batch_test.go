package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// askAll evaluates the questions at the same time and returns what came of each.
func (j *job) askAll(ctx context.Context, list []question) []answer {
	got := make([]answer, len(list))
	var all sync.WaitGroup
	for i, q := range list {
		all.Go(func() { got[i].values, got[i].err = j.evaluate(ctx, q.values) })
	}
	all.Wait()
	return got
}

// TestAnswerDoesNotDependOnItsBatch, nor on the number of ranks: it has the bits of the request
// alone on one rank.
func TestAnswerDoesNotDependOnItsBatch(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		t.Run(fmt.Sprint("ranks=", n), func(t *testing.T) {
			o := flags(t, "-delay", "20ms", "-batch", "64", "-max-tokens", "16")
			list, err := o.newQuestions(t.Context(), 48, 16)
			require.NoError(t, err)
			j := startJob(t, n, o)
			for range 3 {
				for i, a := range j.askAll(t.Context(), list) {
					require.NoError(t, a.err)
					require.NoError(t, list[i].check(a.values))
				}
			}
			require.Less(t, j.metrics.batches, uint64(100), "batches of 144 requests: they shared some")
			require.Greater(t, j.metrics.batches, uint64(10), "each has at most 64 tokens")
		})
	}
}

// TestRefusedTokensDoNotHarmOthers: of a batch with a token that cannot be routed the other
// requests are answered as without it.
func TestRefusedTokensDoNotHarmOthers(t *testing.T) {
	o := flags(t, "-delay", "1s", "-batch", "64", "-max-tokens", "10")
	list, err := o.newQuestions(t.Context(), 7, 1)
	require.NoError(t, err)
	bad := question{values: make([]float32, 57*o.dim)[:8*o.dim]}
	for i := range bad.values {
		bad.values[i] = 3e38
	}
	for range 7 { // the last token of 64 sends the batch off
		list = append(list, question{values: make([]float32, 7*o.dim)})
	}
	list = append(list, bad)
	j := startJob(t, 2, o)
	got := j.askAll(t.Context(), list)
	for i, q := range list[:7] {
		require.NoError(t, got[i].err)
		require.NoError(t, q.check(got[i].values))
	}
	why := (*refusal)(nil)
	require.ErrorAs(t, got[len(got)-1].err, &why)
	require.Equal(t, http.StatusUnprocessableEntity, why.code)
	require.Contains(t, why.reason, "token 0", "of the request, not of the batch")
	require.Greater(t, j.metrics.batches, uint64(len(list)), "once together, then one by one")
	require.Nil(t, j.state.refusal(), "it goes on")
}

// TestClientThatLeavesChangesNothing for those in the same batch.
func TestClientThatLeavesChangesNothing(t *testing.T) {
	o := flags(t, "-delay", "10ms")
	list, err := o.newQuestions(t.Context(), 20, 8)
	require.NoError(t, err)
	j := startJob(t, 2, o)
	for range 5 {
		got := make([]answer, len(list))
		var all sync.WaitGroup
		for i, q := range list {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%2 == 1 {
					time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
				}
				got[i].values, got[i].err = j.evaluate(ctx, q.values)
			})
		}
		all.Wait()
		for i, q := range list {
			if i%2 == 0 || got[i].err == nil {
				require.NoError(t, got[i].err)
				require.NoError(t, q.check(got[i].values))
			}
		}
	}
	require.Nil(t, j.state.refusal())
}
