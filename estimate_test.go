package switchyard_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// inTurn is a router by which each expert gets as many tokens as any other: token t goes to k
// experts from t·k on.
type inTurn struct{ k, experts int }

func (r *inTurn) New(s router.Shape) (router.Gate, error) { return &inTurn{r.k, s.Experts}, nil }
func (r *inTurn) String() string                          { return fmt.Sprint(r.k) }
func (r *inTurn) Params() *param.Set                      { return nil }

func (r *inTurn) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	d := &router.Decision{
		Assignment: router.Assignment{Tokens: x.Rows, Experts: r.experts},
		GroupLoss:  make([]float64, len(b.Ends)), Counts: make([]int, r.experts),
	}
	for range b.Ends {
		d.GroupCapacity = append(d.GroupCapacity, math.MaxInt)
	}
	for e := range r.experts {
		for t := range x.Rows {
			for j := range r.k {
				if (t*r.k+j)%r.experts == e {
					d.Token, d.Weight = append(d.Token, int32(t)), append(d.Weight, 1)
					d.Counts[e]++
				}
			}
		}
		d.Ends = append(d.Ends, len(d.Token))
	}
	return d, nil
}

func (r *inTurn) Backward(*router.Decision, blas32.General, router.Gradient) error { return nil }

// liveHeap is the bytes of the heap that are in use.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestEstimateAgainstTheHeap: what is in use after NewLayer, after a Forward and after two steps is
// within 15 % of the estimate.
func TestEstimateAgainstTheHeap(t *testing.T) {
	for i, c := range []struct {
		ranks, tokens int
		cfg           switchyard.Config
	}{
		{1, 512, switchyard.Config{Dim: 64, Experts: 8, Expert: expert.FFN{Hidden: 512}}},
		// 128 leaves
		{1, 256, switchyard.Config{Dim: 64, Experts: 8, Expert: expert.FFN{Hidden: 512}, Group: 2}},
		{2, 2048, switchyard.Config{Dim: 128, Experts: 8, Expert: expert.SwiGLU{Hidden: 64}, Shared: expert.FFN{Hidden: 64}, Group: switchyard.PerRank}},
		{4, 256, switchyard.Config{Dim: 64, Experts: 8, Expert: expert.SwiGLU{Hidden: 512}, Group: 64, ExpertParallel: 2}},
		{4, 256, switchyard.Config{Dim: 64, Experts: 8, Expert: expert.SwiGLU{Hidden: 512}, Group: 64, ExpertParallel: 2, Sums: alltoall.NVFP4H}},
	} {
		if testing.Short() && i > 0 {
			break
		}
		c.cfg.Router = &inTurn{k: 2}
		want, err := c.cfg.Estimate(c.ranks, c.tokens)
		require.NoError(t, err)
		got := measure(t, c.cfg, c.ranks, c.tokens)
		for i, w := range []int64{want.Parameters, want.Parameters + want.Balanced.Forward, want.Training(2)} {
			require.InEpsilon(t, w, got[i], 0.15, "%d ranks: moment %d of %v", c.ranks, i, want)
		}
	}
}

// measure returns the bytes in use on a rank after NewLayer, the first Forward, and two steps.
func measure(t *testing.T, cfg switchyard.Config, ranks, tokens int) (inUse [3]int64) {
	worlds := switchyardtest.Worlds(t, ranks)
	x := mat.Resize(blas32.General{}, tokens, cfg.Dim)
	layers, adams, ys := make([]*switchyard.Layer, ranks), make([]*expert.Adam, ranks), make([]blas32.General, ranks)
	before := liveHeap()
	each := func(do func(r int) error) int64 {
		errs := make(chan error, ranks)
		for r := range ranks {
			go func() { errs <- do(r) }()
		}
		for range ranks {
			require.NoError(t, <-errs)
		}
		return (liveHeap() - before) / int64(ranks)
	}
	ctx := context.Background()
	forward := func(r int) (err error) {
		ys[r], err = layers[r].Forward(ctx, x)
		return err
	}
	step := func(r int) error {
		if _, err := layers[r].Backward(ctx, ys[r]); err != nil {
			return err
		}
		return layers[r].Step(ctx, adams[r])
	}
	inUse[0] = each(func(r int) (err error) {
		adams[r] = expert.NewAdam(0.01)
		layers[r], err = switchyard.NewLayer(worlds[r], cfg)
		return err
	})
	inUse[1] = each(forward)
	each(step)
	each(forward)
	inUse[2] = each(step)
	runtime.KeepAlive(&x)
	runtime.KeepAlive(layers)
	runtime.KeepAlive(adams)
	return inUse
}

// TestEstimateOfRowBytes is what more tokens add to what a rank sends, to the byte: all else that
// is sent does not grow with them.
func TestEstimateOfRowBytes(t *testing.T) {
	for _, wire := range []alltoall.Wire{{}, {Dispatch: alltoall.FP8, Combine: alltoall.BF16, DispatchBack: alltoall.Int8}} {
		cfg := switchyard.Config{
			Dim: 16, Experts: 8, Router: &inTurn{k: 2}, Expert: expert.Identity{}, Group: switchyard.PerRank,
			Wire: wire, Algorithm: alltoall.Direct,
		}
		few, err := cfg.Estimate(4, 8)
		require.NoError(t, err)
		many, err := cfg.Estimate(4, 40)
		require.NoError(t, err)
		switchyardtest.Run(t, 4, func(ctx context.Context, w *switchyard.World) error {
			l, err := switchyard.NewLayer(w, cfg)
			if err != nil {
				return err
			}
			var sent [2]int64
			for i, tokens := range []int{8, 40} {
				before := w.WireBytes()
				y, err := l.Forward(ctx, mat.Resize(blas32.General{}, tokens, cfg.Dim))
				if err != nil {
					return err
				}
				if _, err := l.Backward(ctx, y); err != nil {
					return err
				}
				sent[i] = int64(w.WireBytes() - before)
			}
			require.Equal(t, many.Balanced.RowBytes-few.Balanced.RowBytes, sent[1]-sent[0])
			return nil
		})
	}
}

// TestEstimateOfLoads of a rank of four that hosts half of the experts.
func TestEstimateOfLoads(t *testing.T) {
	cfg := switchyard.Config{
		Dim: 4, Experts: 8, Hosted: []int{4, 2, 2, 0}, Group: 10,
		Router: router.TopK{K: 2}, Expert: expert.FFN{Hidden: 8},
	}
	e, err := cfg.Estimate(4, 100)
	require.NoError(t, err)
	require.Equal(t, [2]int64{200, 400}, [2]int64{e.Balanced.Sent, e.Balanced.Received})
	require.Equal(t, int64(800), e.Worst.Received, "two rows of each token")
	require.Equal(t, int64(4*(4*8+4*(4*8+8+8*4+4))), e.Parameters)
	require.Equal(t, int64((100+300)*4*4*2), e.Balanced.RowBytes)
	require.Equal(t, int64((200+600)*4*4*2), e.Worst.RowBytes)

	cfg.Router = router.TopK{K: 2, CapacityFactor: 1} // 3 tokens of each group
	e, err = cfg.Estimate(4, 100)
	require.NoError(t, err)
	require.Equal(t, int64(4*10*4*3), e.Worst.Received)
	cfg.MaxRows = 420
	e, err = cfg.Estimate(4, 100)
	require.NoError(t, err)
	require.Equal(t, [2]int64{400, 420}, [2]int64{e.Balanced.Received, e.Worst.Received})
	cfg.MaxRows, cfg.Router = 200, router.TopK{K: 2, CapacityFactor: 0.4} // 1 token of each group
	e, err = cfg.Estimate(4, 100)
	require.NoError(t, err)
	require.Equal(t, [2]int64{160, 160}, [2]int64{e.Balanced.Received, e.Worst.Received})
	require.Equal(t, int64((100+120)*4*4*2), e.Balanced.RowBytes)
	cfg.MaxRows = 0

	cfg.Router = router.SoftMoE{Slots: 3}
	e, err = cfg.Estimate(4, 100)
	require.NoError(t, err)
	require.Equal(t, int64(10*3*8), e.Balanced.Sent)
}

var _ expert.Sizer = sized{}

// sized is an expert from outside the module.
type sized struct{ expert.Identity }

func (sized) Numbers(dim int) (forward, backward int) { return 2 * dim, dim }

func TestEstimateFaults(t *testing.T) {
	cfg := switchyard.Config{Dim: 4, Experts: 2, Router: router.TopK{K: 1}, Expert: sized{}}
	e, err := cfg.Estimate(1, 8)
	require.NoError(t, err)
	require.Contains(t, e.String(), "balanced pass: 8 rows sent, 8 received; MB: ")
	cfg.Expert = struct{ expert.Expert }{expert.Identity{}}
	_, err = cfg.Estimate(1, 8)
	require.ErrorContains(t, err, "switchyard: Config.Expert: struct { expert.Expert } does not say what its passes keep")
	for _, c := range [][2]int{{0, 1}, {1, -1}, {1, 1 << 40}} {
		_, err = cfg.Estimate(c[0], c[1])
		require.ErrorContains(t, err, fmt.Sprintf("%d ranks with %d tokens", c[0], c[1]))
	}
	const most = 1<<31 - 1
	cfg.Expert = sized{}
	for maxRows, rows := range map[int]int{0: most, 7: 8, most - 1: most} {
		cfg.MaxRows = maxRows
		_, err = cfg.Estimate(1, rows)
		require.ErrorContains(t, err, fmt.Sprintf("switchyard: Config.Estimate: %d tokens of each of 1 ranks are %d rows for the experts of one, MaxRows is ", rows, rows))
	}
	cfg.MaxRows = most
	e, err = cfg.Estimate(1, most)
	require.NoError(t, err)
	require.Equal(t, int64(most), e.Worst.Received)
	cfg.Router, cfg.Experts, cfg.Group = router.SoftMoE{Slots: 1 << 9}, 1<<8, 1
	_, err = cfg.Estimate(1, most)
	require.ErrorContains(t, err, "rows for the experts of one, MaxRows is")
	cfg.Dim = 0
	_, err = cfg.Estimate(1, 8)
	require.ErrorContains(t, err, "Config.Dim is 0")
}

// TestSlotsCountInTheWorstPass: as many as Balance may use, of an expert's parameters and twice as
// much in the backward pass.
func TestSlotsCountInTheWorstPass(t *testing.T) {
	cfg := switchyard.Config{Dim: 6, Experts: 4, Group: 4, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 5}}
	plain, err := cfg.Estimate(2, 8)
	require.NoError(t, err)
	cfg.Balance = balance.Config{When: balance.Auto, Slots: 3}
	shared, err := cfg.Estimate(2, 8)
	require.NoError(t, err)
	slots := 3 * plain.Parameters // but for the gate's
	require.Equal(t, plain.Balanced, shared.Balanced)
	require.Greater(t, shared.Worst.Forward, plain.Worst.Forward)
	require.Less(t, shared.Worst.Forward, plain.Worst.Forward+slots)
	require.Equal(t, 2*(shared.Worst.Forward-plain.Worst.Forward), shared.Worst.Backward-plain.Worst.Backward)
	cfg.Balance.MaxBytes = 1 // has room for none
	shared, err = cfg.Estimate(2, 8)
	require.NoError(t, err)
	require.Equal(t, plain, shared)
}
