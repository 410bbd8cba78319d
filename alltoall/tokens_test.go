package alltoall_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// afar says that a transport is one over a network, for which rows are gathered before they leave.
type afar struct{ transport.Transport }

func (afar) Capabilities() transport.Capabilities { return transport.Capabilities{Network: true} }

// shuffled returns a matrix with the rows of m, and others between, in random order with gaps
// between them, and the row that each row of m is in it.
func shuffled(r *rand.Rand, m blas32.General) (blas32.General, []int32) {
	x := blas32.General{Rows: 2 * m.Rows, Cols: m.Cols, Stride: m.Cols + 2}
	x.Data = make([]float32, x.Rows*x.Stride)
	for i := range x.Data {
		x.Data[i] = -1
	}
	token := make([]int32, m.Rows)
	for i, at := range r.Perm(x.Rows)[:m.Rows] {
		token[i] = int32(at)
		copy(x.Data[at*x.Stride:], m.Data[i*m.Stride:i*m.Stride+m.Cols])
	}
	return x, token
}

// TestTokensArriveAsRowsDo compares rows that Token lists with the slow reference, over transports
// that copy many buffers as fast as one and over others.
func TestTokensArriveAsRowsDo(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, far := range []bool{false, true} {
		for _, ranks := range []int{1, 2, 3, 4, 7} {
			for range 10 {
				j, s := randomJob(r, ranks), r.Uint64()
				errs := ranktest.Errors(t, ranks, func(tr transport.Transport) error {
					if far {
						tr = afar{tr}
					}
					return j.checkTokens(tr, rand.New(rand.NewPCG(s, uint64(tr.Rank()))))
				})
				for rank, err := range errs {
					require.NoError(t, err, "seed %d, far %v, %d ranks, rank %d, %+v", seed, far, ranks, rank, j)
				}
			}
		}
	}
}

func (j job) checkTokens(tr transport.Transport, r *rand.Rand) error {
	ctx, me := context.Background(), int(tr.Rank())
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim})
	if err != nil {
		return err
	}
	for range 3 { // after the first time in recycled memory
		out := j.outgoing(me)
		m, token := shuffled(r, out)
		h, _, err := j.firstTrip(ctx, x, me, alltoall.Request{Counts: j.counts[me], Rows: m, Token: token})
		if err != nil {
			return err
		}
		h.Release()
		h.Release() // once is enough, and twice does no harm
	}
	return nil
}
