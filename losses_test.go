package switchyard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/router"
)

// lossCase is a step whose gradient is of auxiliary losses alone.
type lossCase struct {
	ranks, group int
	router       router.Router
	micro        int   // Config.MicroBatches
	announce     bool  // Batch.StepTokens
	inFlight     bool  // the test holds every other pass
	padding      bool  // every third token
	passes       []int // rows on each rank, multiples of group
}

// gradient is the gate's gradient of a step of the case's passes, or of one pass over all of their
// rows, group by group in the same order. dx has the gradient of each rank's tokens.
func (c lossCase) gradient(t *testing.T, together bool) (gate []float32, dx [][]float32) {
	t.Helper()
	cfg := smallConfig()
	cfg.Router, cfg.Group, cfg.MicroBatches = c.router, c.group, c.micro
	batches := c.batches(cfg.Dim)
	if together {
		batches, cfg.MicroBatches = joinBatches(batches), 0
	}
	gates, dxs := make([][]float32, c.ranks), make([][][]float32, c.ranks)
	for rank, err := range onRanks(inprocWorlds(c.ranks), func(w *World) (err error) {
		gates[w.Rank()], dxs[w.Rank()], err = c.run(w, cfg, batches)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	for _, g := range gates[1:] {
		require.Equal(t, gates[0], g)
	}
	for _, passes := range dxs {
		dx = append(dx, slices.Concat(passes...))
	}
	return gates[0], dx
}

// lossBatch is one rank's part of a pass.
type lossBatch struct {
	x       blas32.General
	padding []bool
}

// batches draws the passes of each rank.
func (c lossCase) batches(dim int) [][]lossBatch {
	list := make([][]lossBatch, c.ranks)
	r := rand.New(rand.NewPCG(17, 18))
	for rank := range list {
		for _, n := range c.passes {
			b := lossBatch{x: randomMatrix(r, n, dim), padding: make([]bool, n)}
			for i := range b.padding {
				b.padding[i] = c.padding && i%3 == 1
			}
			list[rank] = append(list[rank], b)
		}
	}
	return list
}

// joinBatches makes one pass of each rank's passes.
func joinBatches(list [][]lossBatch) [][]lossBatch {
	joined := make([][]lossBatch, len(list))
	for rank, passes := range list {
		var all lossBatch
		for _, b := range passes {
			all.padding = append(all.padding, b.padding...)
			all.x.Data = append(all.x.Data, b.x.Data...)
			all.x.Rows, all.x.Cols, all.x.Stride = all.x.Rows+b.x.Rows, b.x.Cols, b.x.Cols
		}
		joined[rank] = []lossBatch{all}
	}
	return joined
}

// run takes a rank's passes back with no gradient from above.
func (c lossCase) run(w *World, cfg Config, batches [][]lossBatch) (gate []float32, dxs [][]float32, err error) {
	ctx := context.Background()
	l, err := NewLayer(w, cfg)
	if err != nil {
		return nil, nil, err
	}
	layers := []forwarder{l, l}
	if c.inFlight {
		layers[1] = &heldPasses{Layer: l}
	}
	all := 0
	for _, of := range batches {
		for _, b := range of {
			for _, padding := range b.padding {
				if !padding {
					all++
				}
			}
		}
	}
	for m, b := range batches[w.Rank()] {
		of, side := layers[m%2], router.Batch{Padding: b.padding, Micro: m}
		if c.announce {
			side.StepTokens = all
		}
		if _, err := of.ForwardBatch(ctx, b.x, side); err != nil {
			return nil, nil, err
		}
		zero := b.x
		zero.Data = make([]float32, len(b.x.Data))
		dx, err := of.Backward(ctx, zero)
		if err != nil {
			return nil, nil, err
		}
		dxs = append(dxs, append([]float32(nil), dx.Data...))
	}
	list, err := l.Gradients(ctx)
	if err != nil {
		return nil, nil, err
	}
	before, err := l.Parameters(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := l.Step(ctx, expert.NewSGD(1)); err != nil {
		return nil, nil, err
	}
	after, err := l.Parameters(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, g := range list[0].Data {
		if moved := before[0].Data[i] - after[0].Data[i]; max(moved-g, g-moved) > 1e-5 {
			return nil, nil, fmt.Errorf("element %d of the gate moved by %v for a gradient of %v", i, moved, g)
		}
	}
	return list[0].Data, dxs, nil
}

// TestLossesAreWeighedByTheTokensOfTheStep: a step of several passes has the gradient of one pass
// over all of their tokens, however many passes were announced, with passes of different sizes and
// with padding, held by the test or not.
func TestLossesAreWeighedByTheTokensOfTheStep(t *testing.T) {
	losses := []router.Loss{router.Balance(0.5), router.ZLoss(0.1), router.SwitchLoss(0.3), router.ImportanceLoss(0.2), router.SequenceBalance(0.2, 2)}
	routers := map[string]router.Router{
		"softmax": router.TopK{K: 2, Losses: losses},
		"sigmoid": router.TopK{K: 2, Score: router.Sigmoid, Losses: losses},
		"cosine":  router.Cosine{TopK: router.TopK{K: 1, Losses: losses}},
		"noisy":   router.NoisyTopK{TopK: router.TopK{K: 1, Losses: append(losses, router.LoadLoss(0.5))}},
		"several": router.Several{Routers: []router.Router{router.TopK{K: 2, Losses: losses}, router.TopK{K: 1}}},
	}
	for name, r := range routers {
		for _, ranks := range fewer([]int{1, 3}, 3) {
			for _, passes := range fewer([][]int{{4}, {4, 4}, {4, 4, 4}, {2, 8, 4}, {0, 6, 2, 2}}, []int{4, 4}, []int{0, 6, 2, 2}) {
				c := lossCase{ranks: ranks, group: 2, router: r, passes: passes, padding: len(passes) > 2}
				want, wantDX := c.gradient(t, true)
				delta := 1e-5 * float64(max(slices.Max(want), -slices.Min(want)))
				require.NotZero(t, delta)
				for _, micro := range []int{0, len(passes), len(passes) + 1, 1} {
					for _, inFlight := range []bool{false, true} {
						c.micro, c.inFlight = micro, inFlight
						got, _ := c.gradient(t, false)
						neartest.Equal(t, want, got, delta, "%s, %d ranks, passes of %v, MicroBatches %d, in flight %v", name, ranks, passes, micro, inFlight)
					}
				}
				c.announce = true
				got, dx := c.gradient(t, false)
				neartest.Equal(t, want, got, delta, "%s, %d ranks, passes of %v, announced", name, ranks, passes)
				for rank := range dx { // the gradient of the tokens, too, is then that of the step
					neartest.Equal(t, wantDX[rank], dx[rank], delta, "dx of %s, rank %d of %d, passes of %v", name, rank, ranks, passes)
				}
			}
		}
	}
}

// TestEqualPassesNeedNoAnnouncement: of MicroBatches passes of equal size the gradient of the
// tokens is that of the step as well.
func TestEqualPassesNeedNoAnnouncement(t *testing.T) {
	c := lossCase{ranks: 2, group: 2, router: router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.5)}}, passes: []int{4, 4, 4}, micro: 3}
	_, want := c.gradient(t, true)
	_, got := c.gradient(t, false)
	for rank := range want {
		require.NotEmpty(t, want[rank])
		neartest.Equal(t, want[rank], got[rank], 1e-6)
	}
}

// TestOtherTokensThanAnnounced: a step in which other tokens came than passes announced, or passes
// did not announce alike, fails on every rank, changes nothing, and is dropped; the next one works.
func TestOtherTokensThanAnnounced(t *testing.T) {
	for name, c := range map[string]struct {
		announced func(rank, pass int) int // 2 ranks, 2 passes of 4 tokens: 16
		says      []string                 // one for each rank
	}{
		"fewer":  {func(int, int) int { return 20 }, []string{"16 tokens came in the passes of the step, and Batch.StepTokens announced 20", "announced 20"}},
		"more":   {func(int, int) int { return 8 }, []string{"announced 8", "16 tokens came"}},
		"passes": {func(_, pass int) int { return 16 * pass }, []string{"passes of one step gave different numbers", "passes of one step gave different numbers"}},
		"ranks":  {func(rank, _ int) int { return 16 + rank }, []string{"its own error says how many", "16 tokens came in the passes of the step, and Batch.StepTokens announced 17"}},
	} {
		for _, inFlight := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/in-flight=%v", name, inFlight), func(t *testing.T) {
				refused := make([]error, 2)
				for rank, err := range onRanks(inprocWorlds(2), func(w *World) (err error) {
					refused[w.Rank()], err = announcedStep(w, inFlight, c.announced)
					return err
				}) {
					require.NoError(t, err, "rank %d", rank)
				}
				for rank, says := range c.says {
					require.ErrorContains(t, refused[rank], says, "rank %d", rank)
				}
			})
		}
	}
}

// announcedStep takes a step that is to fail, and one that is not.
func announcedStep(w *World, inFlight bool, announced func(rank, pass int) int) (refused, err error) {
	ctx, cfg := context.Background(), smallConfig()
	cfg.Router = router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.5)}}
	l, err := NewLayer(w, cfg)
	if err != nil {
		return nil, err
	}
	layers := []forwarder{l, l}
	if inFlight {
		layers[1] = &heldPasses{Layer: l}
	}
	x := randomMatrix(rand.New(rand.NewPCG(3, uint64(w.Rank()))), 4, cfg.Dim)
	passes := func(announced func(rank, pass int) int) error {
		for m, of := range layers {
			if _, err := of.ForwardBatch(ctx, x, router.Batch{StepTokens: announced(int(w.Rank()), m)}); err != nil {
				return err
			}
			if _, err := of.Backward(ctx, x); err != nil {
				return err
			}
		}
		return nil
	}
	before, err := l.Parameters(ctx)
	if err != nil {
		return nil, err
	}
	if err := passes(announced); err != nil {
		return nil, err
	}
	refused = l.Step(ctx, expert.NewSGD(0.1))
	after, err := l.Parameters(ctx)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(before, after) {
		return nil, errors.New("parameters changed")
	}
	if err := l.Step(ctx, expert.NewSGD(0.1)); err == nil {
		return nil, errors.New("a step without passes")
	}
	if err := passes(func(int, int) int { return 16 }); err != nil {
		return nil, err
	}
	return refused, l.Step(ctx, expert.NewSGD(0.1))
}

// TestGlobalBalanceCountsTheStep: the loss of a pass goes by what was chosen in it and in the
// passes of the step before it, but not by evaluations, discarded passes, or passes of other steps.
func TestGlobalBalanceCountsTheStep(t *testing.T) {
	const experts, k = 4, 2
	cfg := smallConfig()
	cfg.Router = router.TopK{K: k, Score: router.SoftmaxBefore, Losses: []router.Loss{router.GlobalBalance(1)}}
	r := rand.New(rand.NewPCG(5, 6))
	alone(t, func(w *World) {
		ctx := t.Context()
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		for range 2 {
			gate := l.table.Sets().Gate
			counts, tokens := make([]int, experts), 0
			for _, n := range []int{4, 6, 2} {
				x := randomMatrix(r, n, cfg.Dim)
				_, err = l.Forward(ctx, x)
				require.NoError(t, err)
				require.NoError(t, l.Discard())
				_, err = l.Eval(ctx, x)
				require.NoError(t, err)
				_, err = l.Forward(ctx, x)
				require.NoError(t, err)
				for e, n := range l.Stats().Choices {
					counts[e] += n
				}
				tokens += n
				want := 0.0 // E/(k·N·T)·Σ n·P, N and n of the step so far
				for e, p := range sumOfProbabilities(x, gate.Matrix(gate.Value, 0)) {
					want += float64(counts[e]) * p * experts / (k * float64(tokens) * float64(n))
				}
				require.InDelta(t, want, l.Stats().Losses["global"], 1e-5, "after %d tokens", tokens)
				_, err = l.Backward(ctx, x)
				require.NoError(t, err)
			}
			require.NoError(t, l.Step(ctx, expert.NewSGD(0.1)))
		}
	})
}

// sumOfProbabilities adds up the softmax of x·w over the rows.
func sumOfProbabilities(x, w blas32.General) []float64 {
	sum := make([]float64, w.Cols)
	for t := range x.Rows {
		p, total := make([]float64, w.Cols), 0.0
		for e := range p {
			logit := 0.0
			for c, v := range mat.Row(x, t) {
				logit += float64(v) * float64(mat.Row(w, c)[e])
			}
			p[e] = math.Exp(logit)
			total += p[e]
		}
		for e := range p {
			sum[e] += p[e] / total
		}
	}
	return sum
}

// TestGlobalBalanceAsMegatron runs steps of micro-batches that Megatron-Core 0.19.2 computed
// (testdata/global_balance.json) through a layer whose gate is the identity, so that tokens are
// logits, and compares losses and gradients.
func TestGlobalBalanceAsMegatron(t *testing.T) {
	var file struct {
		Cases []struct {
			Name    string
			Inputs  struct{ Experts, K int }
			Options struct {
				ScoreFunction string `json:"score_function"`
				Coefficient   float64
			}
			Outputs struct {
				Steps [][]struct {
					Logits, Padding []float32
					Loss            float64   `json:"loss_unscaled"`
					Grad            []float32 `json:"grad_logits"`
				}
			}
		}
	}
	text, err := os.ReadFile("testdata/global_balance.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	require.Len(t, file.Cases, 3)
	for _, c := range file.Cases {
		t.Run(c.Name+"/"+c.Options.ScoreFunction, func(t *testing.T) {
			top := router.TopK{K: c.Inputs.K, Score: router.SoftmaxBefore, Losses: []router.Loss{router.GlobalBalance(c.Options.Coefficient)}}
			if c.Options.ScoreFunction == "sigmoid" {
				top.Score = router.Sigmoid
			}
			e := c.Inputs.Experts
			alone(t, func(w *World) {
				l, err := NewLayer(w, Config{Dim: e, Experts: e, Router: top, Expert: expert.Identity{}})
				require.NoError(t, err)
				identity := Tensor{Name: "gate.gate", Shape: []int{e, e}, Data: make([]float32, e*e)}
				for i := range e {
					identity.Data[i*e+i] = 1
				}
				for _, step := range c.Outputs.Steps {
					for m, b := range step {
						require.NoError(t, l.Load([]Tensor{identity}))
						x := blas32.General{Rows: len(b.Logits) / e, Cols: e, Stride: e, Data: b.Logits}
						side := router.Batch{Micro: m}
						for _, p := range b.Padding {
							side.Padding = append(side.Padding, p == 1)
						}
						_, err := l.ForwardBatch(t.Context(), x, side)
						require.NoError(t, err)
						require.InEpsilon(t, b.Loss*c.Options.Coefficient, l.Stats().Losses["global"], 1e-5, "micro-batch %d", m)
						zero := x
						zero.Data = make([]float32, len(x.Data))
						dx, err := l.Backward(t.Context(), zero)
						require.NoError(t, err)
						neartest.Equal(t, b.Grad, dx.Data, 1e-7, "micro-batch %d", m)
					}
					require.NoError(t, l.Step(t.Context(), expert.NewSGD(0)))
				}
			})
		})
	}
}
