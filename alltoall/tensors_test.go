package alltoall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
)

// widen returns m with columns appended that continue its numbers.
func widen(m blas32.General, cols int) blas32.General {
	to := blas32.General{Rows: m.Rows, Cols: cols, Stride: cols, Data: make([]float32, m.Rows*cols)}
	for i := range to.Data {
		to.Data[i] = m.Data[i/cols*m.Stride+i%cols%m.Cols] + float32(i%cols)
	}
	return to
}

// TestTensorsShareAnExchange sends a matrix of other widths beside the rows, and holds each against what it brings alone, and the
// messages against those of one.
func TestTensorsShareAnExchange(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{1, 2, 3, 4, 7} {
		for _, a := range alltoall.Algorithms() {
			j, parts := randomJob(r, ranks), 1+r.IntN(3)
			errs := onRanks(t, ranks, func(tr transport.Transport) error { return j.checkTensors(&posts{Transport: tr}, a, parts) })
			for rank, err := range errs {
				require.NoError(t, err, "seed %d, %d ranks, %s, %d parts, rank %d, %+v", seed, ranks, a, parts, rank, j)
			}
		}
	}
}

// posts counts the messages sent.
type posts struct {
	transport.Transport
	sent int
}

func (p *posts) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	p.sent += len(sends)
	return transport.Exchange(ctx, p.Transport, sends, recvs)
}

func (j job) checkTensors(tr *posts, a alltoall.Algorithm, parts int) error {
	ctx, me := context.Background(), int(tr.Rank())
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim, Algorithm: a, Topology: alltoall.Nodes(tr.Size(), 2)})
	if err != nil {
		return err
	}
	out := j.outgoing(me)
	for range 2 { // the second time in recycled memory
		h, err := x.Begin(ctx, j.counts[me], out, nil, parts)
		if err != nil {
			return err
		}
		for part := range parts {
			if _, _, err := h.DispatchPart(ctx, part); err != nil {
				return err
			}
		}
		before := tr.sent
		in, err := h.Dispatch(ctx, out)
		if err != nil {
			return err
		}
		alone := tr.sent - before
		wide, narrow := widen(out, 5), widen(out, 1)
		before = tr.sent
		got, err := h.DispatchAll(ctx, out, wide, narrow)
		if err != nil {
			return err
		}
		if n := tr.sent - before; n != alone {
			return fmt.Errorf("%d messages for three matrices, %d for one", n, alone)
		}
		for i, want := range []blas32.General{in, widen(in, 5), widen(in, 1)} {
			if err := same(fmt.Sprintf("dispatched matrix %d", i), want.Data, got[i].Data); err != nil {
				return err
			}
		}
		home, err := h.CombineAll(ctx, got[1], got[0], got[2])
		if err != nil {
			return err
		}
		for i, want := range []blas32.General{wide, out, narrow} {
			if err := same(fmt.Sprintf("combined matrix %d", i), want.Data, home[i].Data); err != nil {
				return err
			}
		}
		h.Release()
	}
	return nil
}
