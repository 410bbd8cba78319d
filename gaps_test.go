package switchyard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
)

// gapsCase is how two layers, one after the other, are trained.
type gapsCase struct {
	ranks, parallel, micro int
	numbered               bool // every step has a pass of NewPass too, begun before the others
	frozen                 []param.Kind
	change                 func(*Config)
}

func gapsCases() map[string]gapsCase {
	same := func(*Config) {}
	return map[string]gapsCase{
		"one copy":                  {ranks: 2, parallel: 2, micro: 1, change: same},
		"two copies":                {ranks: 4, parallel: 2, micro: 1, change: same},
		"three copies, three micro": {ranks: 3, parallel: 1, micro: 3, change: same},
		"numbered passes":           {ranks: 4, parallel: 2, micro: 2, numbered: true, change: same},
		"frozen experts":            {ranks: 4, parallel: 2, micro: 2, frozen: []param.Kind{param.Expert}, change: same},
		"frozen gate":               {ranks: 3, parallel: 1, micro: 1, frozen: []param.Kind{param.Gate, param.Shared}, change: same},
		"rounded sums":              {ranks: 4, parallel: 2, micro: 2, change: func(c *Config) { c.Sums = alltoall.Int4 }},
		"two chunks":                {ranks: 4, parallel: 2, micro: 2, change: func(c *Config) { c.Overlap.Degree = 2 }},
		"compression": {ranks: 4, parallel: 2, micro: 2, change: func(c *Config) {
			c.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedGain, Refine: -1}}
		}},
	}
}

// train trains on one rank, and returns all bits of the gradients and parameters.
func (c gapsCase) train(ctx context.Context, w *World, piece int) (text string, err error) {
	cfg := normLayer()
	cfg.ExpertParallel, cfg.MicroBatches = c.parallel, c.micro
	c.change(&cfg)
	cfg.Overlap.GradientPiece = piece
	var layers [2]*Layer
	for i := range layers {
		if layers[i], err = NewLayer(w, cfg); err != nil {
			return "", err
		}
		if err := layers[i].SetFrozen(ctx, c.frozen...); err != nil {
			return "", err
		}
	}
	adam := expert.NewAdam(0.01)
	for step := range 3 {
		r := rand.New(rand.NewPCG(uint64(step), 7))
		if err := c.step(ctx, w, r, layers[:]); err != nil {
			return "", err
		}
		if step == 1 { // a step that is left out
			if err := layers[0].DiscardGradients(); err != nil {
				return "", err
			}
			if err := layers[1].DiscardGradients(); err != nil {
				return "", err
			}
			continue
		}
		norm, err := ClipGradients(ctx, 0.5, layers[0], layers[1])
		if err != nil {
			return "", err
		}
		for _, l := range layers {
			g, err := l.Gradients(ctx)
			if err != nil {
				return "", err
			}
			if err := l.Step(ctx, adam); err != nil {
				return "", err
			}
			p, err := l.Parameters(ctx)
			if err != nil {
				return "", err
			}
			text += fmt.Sprint(norm, g, p)
		}
	}
	return text, nil
}

// step runs the passes of one step.
func (c gapsCase) step(ctx context.Context, w *World, r *rand.Rand, layers []*Layer) error {
	draw := func() [2]blas32.General {
		return cutOf(w, [2]blas32.General{randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)})
	}
	var early *Pass
	first, err := draw(), error(nil)
	if c.numbered {
		if early, err = layers[1].ForwardPass(ctx, first[0], router.Batch{}); err != nil {
			return err
		}
	}
	for range c.micro {
		mine := draw()
		x := mine[0]
		for _, l := range layers {
			if x, err = l.Forward(ctx, x); err != nil {
				return err
			}
		}
		dy := mine[1]
		for i := len(layers) - 1; i >= 0; i-- {
			if dy, err = layers[i].Backward(ctx, dy); err != nil {
				return err
			}
		}
	}
	if early == nil {
		return nil
	}
	if _, err = early.Backward(ctx, first[1]); err == nil {
		err = early.Release()
	}
	return err
}

// delayed returns worlds of which messages come late, and in another order, by a seed.
func delayed(n int, seed uint64) []*World {
	return decorated(n, func(e transport.Transport) transport.Transport {
		return faulty.New(e, faulty.Config{Seed: seed, Rules: []faulty.Rule{
			{Fault: faulty.Reorder(100 * time.Microsecond), Chance: 0.1},
			{Fault: faulty.Delay(0, 200*time.Microsecond), Chance: 0.1},
		}})
	})
}

// TestSumsInGapsHaveTheSameBits as sums at the end, in pieces of any size, however messages are
// late.
func TestSumsInGapsHaveTheSameBits(t *testing.T) {
	needExactProducts(t)
	for name, c := range gapsCases() {
		t.Run(name, func(t *testing.T) {
			train := func(worlds []*World, piece int) []string {
				texts := make([]string, len(worlds))
				for rank, err := range onRanks(worlds, func(w *World) (err error) {
					texts[w.Rank()], err = c.train(t.Context(), w, piece)
					return err
				}) {
					require.NoError(t, err, "rank %d, pieces of %d", rank, piece)
				}
				return texts
			}
			want := train(inprocWorlds(c.ranks), 0)
			require.True(t, fmt.Sprint(want) == fmt.Sprint(train(inprocWorlds(c.ranks), 1<<20)), "whole")
			seeds := uint64(2)
			if testing.Short() {
				seeds = 1
			}
			for seed := range seeds {
				got := train(delayed(c.ranks, seed), 4000+int(seed)*6000)
				require.True(t, fmt.Sprint(want) == fmt.Sprint(got), "seed %d", seed)
			}
		})
	}
}

// TestStatsOfSumsInGaps: where nothing waits pieces begin in gaps, and those of a rank that sends
// rows all the time when Step waits for them.
func TestStatsOfSumsInGaps(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := normLayer()
		cfg.ExpertParallel, cfg.Overlap.GradientPiece = 1, 200
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		if w.Rank() == 1 {
			w.gaps.Begin()
			defer w.gaps.End()
		}
		x := randomMatrix(rand.New(rand.NewPCG(1, 7)), 8, bitsDim)
		if _, err := l.Forward(t.Context(), x); err != nil {
			return err
		}
		if _, err := l.Backward(t.Context(), x); err != nil {
			return err
		}
		require.Zero(t, l.Stats().Overlap.InGaps*int(w.Rank()))
		if err := l.Step(t.Context(), expert.NewSGD(0.1)); err != nil {
			return err
		}
		s := l.Stats().Overlap
		require.Greater(t, s.Pieces, 4)
		require.LessOrEqual(t, s.InGaps, s.Pieces)
		require.Zero(t, s.InGaps*int(w.Rank()))
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestARankDiesWhileSumsRunInGaps: whatever it was in, every rank ends with an error that names it,
// and no goroutine stays.
func TestARankDiesWhileSumsRunInGaps(t *testing.T) {
	c := gapsCases()["two copies"]
	for _, at := range []uint64{40, 90, 110, 130, 150, 200} {
		errs := onRanks(decorated(c.ranks, func(e transport.Transport) transport.Transport {
			return faulty.New(e, faulty.Config{Rules: []faulty.Rule{faulty.FailAt(1, at, nil)}})
		}), func(w *World) error {
			_, err := c.train(t.Context(), w, 2000)
			return err
		})
		for rank, err := range errs {
			require.Error(t, err, "rank %d, at operation %d", rank, at)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "rank %d, at operation %d: %v", rank, at, err)
		}
	}
}

// TestAContextEndsSumsInGaps of the layer that waits for them, which has then failed.
func TestAContextEndsSumsInGaps(t *testing.T) {
	c := gapsCases()["two copies"]
	released := make(chan struct{})
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := normLayer()
		cfg.ExpertParallel, cfg.Overlap.GradientPiece = 1, 200
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		if w.Rank() == 1 { // where rows travel all the time
			defer func() { <-released }()
			w.gaps.Begin()
		} else {
			defer close(released)
		}
		if err := c.step(t.Context(), w, rand.New(rand.NewPCG(1, 7)), []*Layer{l}); err != nil || w.Rank() == 1 {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err = l.Gradients(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorIs(t, l.DiscardGradients(), ErrFailed)
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestACloseEndsSumsInGaps, although rows seem to travel and nobody waits for them.
func TestACloseEndsSumsInGaps(t *testing.T) {
	c := gapsCases()["two copies"]
	worlds := inprocWorlds(c.ranks)
	for rank, err := range onRanks(worlds, func(w *World) error {
		cfg := normLayer()
		cfg.ExpertParallel, cfg.Overlap.GradientPiece = c.parallel, 200
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		w.gaps.Begin()
		return c.step(t.Context(), w, rand.New(rand.NewPCG(1, 7)), []*Layer{l})
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}
