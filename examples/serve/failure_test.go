package main

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDeadRankIsNamed to the clients that wait, and the job ends with the error.
func TestDeadRankIsNamed(t *testing.T) {
	o := flags(t, "-delay", "1m")
	list, err := o.newQuestions(t.Context(), 4, 2)
	require.NoError(t, err)
	j := startJob(t, 3, o)
	tally, client := newTally(), newLoadClient(&o, j.url)
	defer client.close()
	var clients sync.WaitGroup
	for _, q := range list {
		clients.Go(func() { client.ask(t.Context(), q, tally) })
	}
	j.awaitUnderWay(4)
	require.NoError(t, j.ranks[2].world.Close())
	clients.Wait()
	require.Equal(t, map[string]int{"HTTP 503": 4}, tally.kinds)
	require.Contains(t, tally.example["HTTP 503"], "the job has failed: ")
	require.Contains(t, tally.example["HTTP 503"], "rank 2")
	for r := range 3 {
		require.ErrorContains(t, j.result(t, r), "rank 2")
	}
	require.NotNil(t, j.state.refusal(), "not ready")
}

// awaitUnderWay waits until n requests have been taken in.
func (j *job) awaitUnderWay(n int) {
	for j.clients.underWay() != n {
		runtime.Gosched()
	}
}
