package main

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/switchyardtest"
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

// TestPassThatFailsEndsAFollower, though it waits for the next order: here the front orders a pass
// and never comes to it.
func TestPassThatFailsEndsAFollower(t *testing.T) {
	o := flags(t)
	worlds := switchyardtest.Worlds(t, 2)
	made := make(chan error, 1)
	var leader, follower *member
	go func() {
		var err error
		leader, err = newMember(t.Context(), worlds[0], o.model)
		made <- err
	}()
	follower, err := newMember(t.Context(), worlds[1], o.model)
	require.NoError(t, err)
	require.NoError(t, <-made)
	_, err = leader.announce(t.Context(), 3)
	require.NoError(t, err)
	require.ErrorIs(t, follower.follow(t.Context(), 50*time.Millisecond), context.DeadlineExceeded)
}
