package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waiting returns a request of some tokens that has come in an hour ago.
func waiting(ctx context.Context, tokens int) *request {
	return &request{ctx: ctx, tokens: tokens, arrived: time.Now().Add(-time.Hour), done: make(chan answer, 1)}
}

// TestBatchesKeepOrderAndFit: requests stand in the order in which they came, and no batch has more
// tokens than fit.
func TestBatchesKeepOrderAndFit(t *testing.T) {
	q := newQueue(10, 8, time.Millisecond)
	var sent, got []*request
	for _, tokens := range []int{3, 4, 2, 8, 1, 5} {
		sent = append(sent, waiting(t.Context(), tokens))
		require.True(t, q.add(sent[len(sent)-1]))
	}
	q.close()
	var sizes []int
	for batch := q.batch(); batch != nil; batch = q.batch() {
		tokens := 0
		for _, r := range batch {
			tokens += r.tokens
		}
		sizes, got = append(sizes, tokens), append(got, batch...)
	}
	require.Equal(t, []int{7, 2, 8, 6}, sizes)
	require.Equal(t, sent, got)
	require.Nil(t, q.batch(), "it stays closed")
}

// TestWhatWaitsIsTaken, though the time of the first is over long since.
func TestWhatWaitsIsTaken(t *testing.T) {
	const many = 5000
	q := newQueue(many, many, 0)
	for range many {
		require.True(t, q.add(waiting(t.Context(), 1)))
	}
	require.Len(t, q.batch(), many)
}

func TestFullQueueRefuses(t *testing.T) {
	q := newQueue(2, 8, 0)
	require.True(t, q.add(waiting(t.Context(), 1)))
	require.True(t, q.add(waiting(t.Context(), 1)))
	require.False(t, q.add(waiting(t.Context(), 1)))
	require.Len(t, q.batch(), 2)
	require.True(t, q.add(waiting(t.Context(), 1)))
}

// TestRequestsOfClientsThatLeftAreNotComputed, wherever they wait.
func TestRequestsOfClientsThatLeftAreNotComputed(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	q := newQueue(10, 8, 0)
	carried := waiting(left, 8)
	stays := []*request{waiting(t.Context(), 5), waiting(t.Context(), 2), waiting(t.Context(), 1)}
	for _, r := range []*request{stays[0], carried} {
		require.True(t, q.add(r))
	}
	require.Equal(t, stays[:1], q.batch(), "the next does not fit")
	leave()
	for _, r := range []*request{stays[1], waiting(left, 1), stays[2], waiting(left, 1)} {
		require.True(t, q.add(r))
	}
	require.Equal(t, stays[1:], q.batch())
	q.close()
	require.Nil(t, q.batch())
}

// TestBatchWaitsForOthers: one that comes within the delay shares the batch.
func TestBatchWaitsForOthers(t *testing.T) {
	q := newQueue(10, 8, time.Hour)
	first := &request{ctx: t.Context(), tokens: 3, arrived: time.Now()}
	require.True(t, q.add(first))
	got := make(chan []*request)
	go func() { got <- q.batch() }()
	last := &request{ctx: t.Context(), tokens: 5}
	require.True(t, q.add(last))
	require.Equal(t, []*request{first, last}, <-got, "it is full")
}
