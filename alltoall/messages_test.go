package alltoall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// strict is a transport that refuses messages to oneself and messages of no bytes.
type strict struct {
	transport.Transport
	sent *atomic.Int64
}

func (s strict) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	if to == s.Rank() || n == 0 {
		return fmt.Errorf("%d bytes to rank %d", n, to)
	}
	s.sent.Add(1)
	return s.Transport.Send(ctx, to, tag, bufs...)
}

// TestOnlyRowsForOthersTravel: no rank sends a message to itself, nor one without rows, in either
// trip, however many chunks there are.
func TestOnlyRowsForOthersTravel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var sent atomic.Int64
	for _, ranks := range []int{1, 2, 5} {
		for range 10 {
			j := randomJob(r, ranks)
			for _, cut := range []alltoall.Cut{nil, alltoall.ByExperts(2), alltoall.ByRanks(2)} {
				for rank, err := range ranktest.Errors(t, ranks, func(tr transport.Transport) error {
					return j.tripsInChunks(strict{tr, &sent}, cut)
				}) {
					require.NoError(t, err, "seed %d, %d ranks, rank %d, %T, %+v", seed, ranks, rank, cut, j)
				}
			}
		}
	}
	require.Positive(t, sent.Load())
}

// tripsInChunks sends rows there and back twice.
func (j job) tripsInChunks(tr transport.Transport, cut alltoall.Cut) error {
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim})
	if err != nil {
		return err
	}
	me, chunks := int(tr.Rank()), 1
	if cut != nil {
		chunks = cut.Chunks()
	}
	out := j.outgoing(me)
	h, err := x.Begin(context.Background(), alltoall.Request{Counts: j.counts[me], Rows: out, Cut: cut})
	if err != nil {
		return err
	}
	defer h.Release()
	c := &caller{h: h}
	for _, there := range "DB" {
		for chunk := range chunks {
			for _, what := range []rune{there, 'C'} {
				if there == 'B' && what == 'C' {
					continue // Combine overwrites what DispatchBack sends
				}
				if err := c.call(fmt.Sprintf("%c%d", what, chunk)); err != nil {
					return err
				}
			}
		}
	}
	return same("combined", out.Data, c.home.Data)
}

// TestNoTokensOfAnotherWidth: a rank without tokens may give a matrix without rows, of any width.
func TestNoTokensOfAnotherWidth(t *testing.T) {
	for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim})
		require.NoError(t, err)
		j := job{place: alltoall.Even(2, 2), counts: []alltoall.Counts{
			{Tokens: 1, Leaves: 1, Rows: []int{1, 0}}, {Rows: []int{}},
		}}
		me := int(tr.Rank())
		m, token := shuffled(rand.New(rand.NewPCG(1, 2)), j.outgoing(me))
		if me == 1 {
			m.Cols, m.Stride, token = dim+1, dim+1, []int32{}
		}
		h, in, err := whole(context.Background(), x, alltoall.Request{Counts: j.counts[me], Rows: m, Token: token})
		if err != nil {
			tr.Close() // or the other rank would wait
			return err
		}
		defer h.Release()
		want, _ := j.incoming(me)
		return same("dispatched", want, in.Data)
	}) {
		require.NoError(t, err)
	}
}

// TestNothingIsAnsweredWithNothing: a rank that got no rows need not make an empty matrix of
// answers.
func TestNothingIsAnsweredWithNothing(t *testing.T) {
	j := job{place: alltoall.Even(2, 2), counts: []alltoall.Counts{
		{Tokens: 1, Leaves: 1, Rows: []int{1, 0}}, {Tokens: 1, Leaves: 1, Rows: []int{1, 0}},
	}}
	for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim})
		require.NoError(t, err)
		out := j.outgoing(int(tr.Rank()))
		h, in, err := whole(context.Background(), x, alltoall.Request{Counts: j.counts[tr.Rank()], Rows: out})
		if err != nil {
			return err
		}
		defer h.Release()
		answers := []blas32.General{in}
		if in.Rows == 0 {
			answers = nil
		}
		home, err := h.Combine(context.Background(), 0, answers...)
		if err != nil {
			return err
		}
		return same("combined", out.Data, home.Data)
	}) {
		require.NoError(t, err)
	}
}

// TestRoundsAreNumberedInErrors: a measurement is a round as those of a batch are.
func TestRoundsAreNumberedInErrors(t *testing.T) {
	for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim})
		require.NoError(t, err)
		require.NoError(t, x.Uniform(context.Background(), alltoall.Direct, []byte{1}, make([]byte, 2)))
		ended, end := context.WithCancel(context.Background())
		end()
		return x.Uniform(ended, alltoall.Direct, []byte{1}, make([]byte, 2))
	}) {
		require.ErrorContains(t, err, "measuring #2: ")
	}
}
