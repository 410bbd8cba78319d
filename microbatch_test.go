package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// trained is what two micro-batches a step left on one rank.
type trained struct {
	passes     [2][][]float32 // y and dx of each micro-batch, step by step
	parameters []Tensor
}

// trainMicro takes three steps of two micro-batches, one after the other on one layer, or at the
// same time on two.
func trainMicro(ctx context.Context, w *World, cfg Config, x, dy [2]blas32.General, inFlight bool) (res trained, err error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return res, err
	}
	layers := [2]*Layer{l, l}
	if inFlight {
		if layers[1], err = l.NewMicroBatch(); err != nil {
			return res, err
		}
	}
	pass := func(m int) error {
		y, err := layers[m].Forward(ctx, x[m])
		if err != nil {
			return err
		}
		res.passes[m] = append(res.passes[m], append([]float32(nil), y.Data...))
		dx, err := layers[m].Backward(ctx, dy[m])
		res.passes[m] = append(res.passes[m], append([]float32(nil), dx.Data...))
		return err
	}
	for range 3 {
		var wg sync.WaitGroup
		var errs [2]error
		for m := range layers {
			if inFlight {
				wg.Go(func() { errs[m] = pass(m) })
			} else {
				errs[m] = pass(m)
			}
		}
		wg.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			return res, err
		}
		if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
			return res, err
		}
	}
	res.parameters, err = l.Parameters(ctx)
	return res, err
}

// micros cuts a rank's share of two micro-batches out of matrices of bitsTokens rows.
func micros(w *World, m [2]blas32.General) (mine [2]blas32.General) {
	for i := range mine {
		groups := bitsTokens / bitsGroup
		begin, end := int(w.Rank())*groups/w.Size(), (int(w.Rank())+1)*groups/w.Size()
		mine[i] = part(m[i], begin*bitsGroup, end*bitsGroup)
	}
	return mine
}

// sameInFlight trains on all worlds, in both ways, and compares.
func sameInFlight(t *testing.T, open func() []*World, cfg Config, x, dy [2]blas32.General) {
	t.Helper()
	var want []trained
	for _, inFlight := range []bool{false, true} {
		worlds := open()
		got := make([]trained, len(worlds))
		for rank, err := range atOnce(worlds, func(w *World) (err error) {
			got[w.Rank()], err = trainMicro(t.Context(), w, cfg, micros(w, x), micros(w, dy), inFlight)
			return err
		}) {
			require.NoError(t, err, "rank %d", rank)
		}
		closeWorlds(worlds)
		if !inFlight {
			want = got
		}
		require.Equal(t, want, got)
	}
}

// TestMicroBatchesSameBits: two micro-batches at the same time have the bits of one after the
// other, whatever the layer remembers between passes.
func TestMicroBatchesSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 6))
	var x, dy [2]blas32.General
	for m := range x {
		x[m], dy[m] = randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	}
	layers := layersUnderTest()
	base := layers["dropless"]
	with := func(change func(*Config)) Config {
		c := base
		change(&c)
		return c
	}
	layers["shared"] = with(func(c *Config) { c.Shared = expert.SwiGLU{Hidden: 5} })
	layers["inParts"] = with(func(c *Config) { c.Overlap.Degree = 2 })
	layers["byRanks"] = with(func(c *Config) { c.Overlap.Degree, c.Experts = 4, 4 })
	layers["compressed"] = with(func(c *Config) {
		c.Compression = Compression{When: CompressAlways, From: 1, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedGain}}
	})
	layers["bias"] = with(func(c *Config) { c.Router = router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.1} })
	layers["micro"] = with(func(c *Config) { c.MicroBatches = 2 })
	for name, cfg := range layers {
		for _, ranks := range fewer([]int{1, 2, 4}, 2) {
			for copies := 1; copies <= ranks; copies *= 2 {
				t.Run(fmt.Sprintf("%s/ranks=%d/copies=%d", name, ranks, copies), func(t *testing.T) {
					cfg := cfg
					cfg.ExpertParallel = ranks / copies
					sameInFlight(t, func() []*World { return inprocWorlds(ranks) }, cfg, x, dy)
				})
			}
		}
	}
	for name, open := range transportsUnderTest() {
		t.Run(name, func(t *testing.T) { sameInFlight(t, func() []*World { return open(t, 3) }, layers["inParts"], x, dy) })
	}
}

// TestMicroBatchesFollow: what is loaded reaches the micro-batch layer; and it has no parameters of
// its own to step, tell or load.
func TestMicroBatchesFollow(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	cfg.Router = router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.1}
	for _, err := range onRanks(inprocWorlds(1), func(w *World) error {
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		micro, err := l.NewMicroBatch()
		if err != nil {
			return err
		}
		tensors, err := l.Parameters(t.Context())
		if err != nil {
			return err
		}
		for _, tensor := range tensors {
			for i := range tensor.Data {
				tensor.Data[i] += float32(i%7) / 8
			}
		}
		if err := l.Load(tensors); err != nil {
			return err
		}
		x := randomMatrix(rand.New(rand.NewPCG(1, 1)), bitsTokens, bitsDim)
		want, err := l.Eval(t.Context(), x)
		if err != nil {
			return err
		}
		got, err := micro.Eval(t.Context(), x)
		if err != nil {
			return err
		}
		require.Equal(t, want, got)
		_, ofMicroBatch := micro.NewMicroBatch()
		_, ofParameters := micro.Parameters(t.Context())
		_, ofGradients := micro.Gradients(t.Context())
		for _, err := range []error{ofMicroBatch, ofParameters, ofGradients, micro.Load(tensors), micro.Step(t.Context(), expert.NewSGD(1))} {
			require.ErrorContains(t, err, "called on a micro-batch layer")
		}
		return nil
	}) {
		require.NoError(t, err)
	}
}

// TestMicroBatchesShareTheAuxiliaryLosses: two passes of the same tokens, without a gradient from
// above, have that of one pass in a step of its own.
func TestMicroBatchesShareTheAuxiliaryLosses(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	x := randomMatrix(rand.New(rand.NewPCG(1, 1)), bitsTokens, bitsDim)
	zero := blas32.General{Rows: x.Rows, Cols: x.Cols, Stride: x.Stride, Data: make([]float32, len(x.Data))}
	var gate [2][]float32
	for _, err := range onRanks(inprocWorlds(1), func(w *World) error {
		for i := range gate {
			cfg.MicroBatches = i + 1
			w.layers = 0 // the same seed
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			for range i + 1 {
				if _, err := l.Forward(t.Context(), x); err != nil {
					return err
				}
				if _, err := l.Backward(t.Context(), zero); err != nil {
					return err
				}
			}
			g, err := l.Gradients(t.Context())
			if err != nil {
				return err
			}
			gate[i] = g[0].Data
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	require.NotZero(t, gate[0])
	require.Equal(t, gate[0], gate[1])
	cfg.MicroBatches = -1
	require.ErrorContains(t, cfg.Validate(1), "MicroBatches is -1")
}
