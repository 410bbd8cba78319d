package switchyard

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// replayRun is how a layer is trained beside what stays the same: two steps of three micro-batches.
type replayRun struct {
	evaluate  bool // other tokens between passes
	recompute bool // each forward pass twice
	inFlight  bool // micro-batches at once
}

// trainReplay trains on a rank and returns the parameters.
func trainReplay(w *World, cfg Config, run replayRun) ([]Tensor, error) {
	ctx := context.Background()
	l, err := NewLayer(w, cfg)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(8, uint64(w.Rank())))
	for range 2 {
		var batches [3]blas32.General
		for m := range batches {
			batches[m] = randomMatrix(r, 4, cfg.Dim)
		}
		var wg sync.WaitGroup
		var errs [3]error
		for m, x := range batches {
			p, err := l.NewPass()
			if err != nil {
				return nil, err
			}
			other, err := l.NewPass()
			if err != nil {
				return nil, err
			}
			pass := func() { errs[m] = replayPass(ctx, p, other, x, m, run) }
			if run.inFlight {
				wg.Go(pass)
			} else {
				pass()
			}
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
			return nil, err
		}
	}
	return l.Parameters(ctx)
}

// replayPass takes a micro-batch forward and backward in p. other is for other tokens.
func replayPass(ctx context.Context, p, other *Pass, x blas32.General, micro int, run replayRun) error {
	if run.evaluate {
		tokens := randomMatrix(rand.New(rand.NewPCG(9, 9)), 4, x.Cols)
		if _, err := other.Eval(ctx, tokens, router.Batch{Micro: micro}); err != nil {
			return err
		}
	}
	if err := other.Release(); err != nil {
		return err
	}
	if _, err := p.Forward(ctx, x, router.Batch{Micro: micro}); err != nil {
		return err
	}
	if run.recompute {
		if err := p.Drop(); err != nil {
			return err
		}
		if _, err := p.Forward(ctx, x, router.Batch{Micro: micro}); err != nil {
			return err
		}
	}
	_, err := p.Backward(ctx, x)
	return err
}

// TestReplayInALayer: routes recorded while a layer trains are replayed into another one, whatever
// comes in between, and give the bits of the run that was recorded.
func TestReplayInALayer(t *testing.T) {
	needExactProducts(t)
	const ranks = 2
	cfg := smallConfig()
	top := router.TopK{K: 2}
	var files [ranks]bytes.Buffer
	var want [ranks][]Tensor
	for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
		to, err := router.NewRecorder(&files[w.Rank()])
		if err != nil {
			return err
		}
		cfg := cfg
		cfg.Router = router.Record{Router: top, To: to}
		want[w.Rank()], err = trainReplay(w, cfg, replayRun{evaluate: true, recompute: true})
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	for _, run := range []replayRun{{}, {evaluate: true}, {recompute: true}, {inFlight: true}, {true, true, true}} {
		got := make([][]Tensor, ranks)
		for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
			from, err := router.OpenRecording(bytes.NewReader(files[w.Rank()].Bytes()))
			if err != nil {
				return err
			}
			cfg := cfg
			cfg.Router = router.Replay{From: from, Live: &top}
			got[w.Rank()], err = trainReplay(w, cfg, run)
			return err
		}) {
			require.NoError(t, err, "rank %d, %+v", rank, run)
		}
		require.Equal(t, want[:], got, "%+v", run)
	}
}

// TestReplayOfWhatWasNotRecorded fails every rank with the layer, the step and the micro-batch.
func TestReplayOfWhatWasNotRecorded(t *testing.T) {
	var file bytes.Buffer
	_, err := router.NewRecorder(&file)
	require.NoError(t, err)
	from, err := router.ReadRecording(&file)
	require.NoError(t, err)
	errs := onRanks(inprocWorlds(2), func(w *World) error {
		cfg := smallConfig()
		cfg.Router = router.Replay{From: from, Layer: 5}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		_, err = l.ForwardBatch(context.Background(), randomMatrix(rand.New(rand.NewPCG(1, 1)), 2, cfg.Dim), router.Batch{Micro: 3})
		return err
	})
	for rank, err := range errs {
		require.ErrorContains(t, err, "layer 5, step 0, micro-batch 3 in training was not recorded", "rank %d", rank)
	}
}
