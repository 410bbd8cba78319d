package switchyard

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

const refusingRanks, refusingTokens = 4, 6

// refusals are layers of four ranks on two nodes: every way in which a batch is announced, with one
// copy of the experts and with two. Where fewer are enough, each has one or two by its name's
// length.
func refusals() map[string]Config {
	list := map[string]Config{}
	for name, r := range map[string]router.Router{
		"topk":      router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.01},
		"hash":      router.Hash{K: 2},
		"soft":      router.SoftMoE{},
		"consulted": router.ExpertChoice{Over: router.WholeBatch},
		"global":    router.TopK{K: 2, Losses: []router.Loss{router.GlobalBalance(0.01)}},
	} {
		for how, c := range map[string]Compression{
			"plain": {}, "compressed": {When: CompressAlways, LSH: lsh.Config{Rate: 0.5}},
			"nodes": {When: CompressAlways, Nodes: true, LSH: lsh.Config{Rate: 0.5, Compensation: lsh.LearnedGain}},
		} {
			for _, parallel := range fewer([]int{4, 2}, 2+2*((len(name)+len(how))%2)) {
				cfg := smallConfig()
				cfg.Router, cfg.Compression, cfg.ExpertParallel = r, c, parallel
				cfg.Shared, cfg.Topology, cfg.Overlap.Degree = expert.FFN{Hidden: 3}, alltoall.Nodes(refusingRanks, 2), 2
				list[fmt.Sprintf("%s/%s/parallel=%d", name, how, parallel)] = cfg
			}
		}
	}
	return list
}

// batchOf is a rank's own tokens or gradients, and their numbers in the vocabulary.
func batchOf(seed uint64, r transport.Rank) (blas32.General, router.Batch) {
	m := randomMatrix(rand.New(rand.NewPCG(seed, uint64(r))), refusingTokens, smallConfig().Dim)
	side := router.Batch{IDs: make([]int32, refusingTokens)}
	for t := range side.IDs {
		side.IDs[t] = int32(t + 7*int(r))
	}
	return m, side
}

// TestANumberThatIsNotFiniteFailsOneBatchAlone in x, or in dy: every rank learns at once whose it
// is, and what the layer is after it is what it would be without that batch, gradients and bias and
// all.
func TestANumberThatIsNotFiniteFailsOneBatchAlone(t *testing.T) {
	for name, cfg := range refusals() {
		want, _ := runPasses(t, cfg, []uint64{0, 2}, nil)
		for _, culprit := range fewer([]transport.Rank{0, 1, 2, 3}, 1, 2) {
			for _, backward := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/backward=%t/rank=%d", name, backward, culprit), func(t *testing.T) {
					value := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[culprit%3]
					got, errs := runPasses(t, cfg, []uint64{0, 1, 2}, func(r transport.Rank, x, dy blas32.General) {
						if backward {
							x = dy
						}
						if r == culprit {
							x.Data[3*x.Stride+2] = value
						}
					})
					for r, err := range errs {
						require.Equal(t, culprit, transport.CulpritOf(err), "rank %d: %v", r, err)
						if backward || r == int(culprit) {
							require.ErrorIs(t, err, alltoall.ErrNotFinite)
						} else {
							require.ErrorIs(t, err, alltoall.ErrRefused)
						}
						if backward {
							require.ErrorContains(t, err, "row 3")
						}
					}
					require.ErrorContains(t, errs[culprit], "column 2")
					require.Equal(t, len(want), len(got))
					for i := range want {
						require.Equal(t, want[i], got[i])
					}
				})
			}
		}
	}
}

// runPasses trains a layer on four ranks with batches of the given numbers, of which batch 1 is
// spoilt, and returns rank 0's gradients and parameters after a step, and each rank's error of
// batch 1.
func runPasses(t *testing.T, cfg Config, batches []uint64, spoil func(r transport.Rank, x, dy blas32.General)) (tensors []Tensor, wrong []error) {
	t.Helper()
	return runBatches(t, func(transport.Rank) Config { return cfg }, batches, spoil, func(transport.Rank, bool) {})
}

// runPassesWith is runPasses with a configuration for each rank, and with a call before and after
// batch 1.
func runPassesWith(t *testing.T, cfg func(transport.Rank) Config, batches []uint64, spoil func(r transport.Rank, on bool)) ([]Tensor, []error) {
	t.Helper()
	return runBatches(t, cfg, batches, func(transport.Rank, blas32.General, blas32.General) {}, spoil)
}

func runBatches(t *testing.T, cfg func(transport.Rank) Config, batches []uint64, spoil func(r transport.Rank, x, dy blas32.General), around func(r transport.Rank, on bool)) (tensors []Tensor, wrong []error) {
	t.Helper()
	wrong = make([]error, refusingRanks)
	for r, err := range onRanks(inprocWorlds(refusingRanks), func(w *World) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		l, err := NewLayer(w, cfg(w.Rank()))
		if err != nil {
			return err
		}
		for _, n := range batches {
			x, side := batchOf(n, w.Rank())
			dy, _ := batchOf(n+100, w.Rank())
			if n == 1 {
				spoil(w.Rank(), x, dy)
			}
			around(w.Rank(), n == 1)
			_, err := l.ForwardBatch(ctx, x, side)
			if err == nil {
				_, err = l.Backward(ctx, dy)
			}
			if n == 1 {
				wrong[w.Rank()] = err
			} else if err != nil {
				return fmt.Errorf("batch %d: %w", n, err)
			}
		}
		list, err := l.Gradients(ctx)
		if err != nil {
			return err
		}
		if err := l.Step(ctx, &expert.SGD{LR: 0.1}); err != nil {
			return err
		}
		all, err := l.Parameters(ctx)
		if w.Rank() == 0 {
			tensors = append(list, all...)
		}
		return err
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	return tensors, wrong
}

// poisoned is experts of which some, on one rank, answer a batch with a number that is not finite,
// or give such a gradient.
type poisoned struct {
	expert.Expert
	forward, backward *bool
}

func (p poisoned) String() string { return "poisoned" }

func (p poisoned) New(s expert.Shape) (expert.Group, error) {
	g, err := p.Expert.New(s)
	return poisonedGroup{g, p}, err
}

type poisonedGroup struct {
	expert.Group
	by poisoned
}

func (g poisonedGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	y, saved := g.Group.Forward(x, rows)
	return poison(y, *g.by.forward), saved
}

func (g poisonedGroup) Backward(saved expert.Saved, dy blas32.General) blas32.General {
	return poison(g.Group.Backward(saved, dy), *g.by.backward)
}

func (g poisonedGroup) RowGradients(saved expert.Saved, of []int32, dy, dx blas32.General) {
	g.Group.(expert.RowGradients).RowGradients(saved, of, dy, dx)
	poison(dx, *g.by.backward)
}

func poison(m blas32.General, do bool) blas32.General {
	if do && m.Rows > 0 {
		m.Data[len(m.Data)-1] = float32(math.Inf(1))
	}
	return m
}

// TestWhatExpertsMakeIsChecked under Wire.Finite: an answer or a gradient that is not finite fails
// the batch on every rank at once, which names the rank whose experts made it, and the next batch
// is run.
func TestWhatExpertsMakeIsChecked(t *testing.T) {
	for name, cfg := range refusals() {
		cfg.Wire.Finite = true
		want, _ := runPasses(t, cfg, []uint64{0, 2}, nil)
		for _, backward := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/backward=%t", name, backward), func(t *testing.T) {
				const culprit = 1
				var flags [refusingRanks][2]bool
				mine := func(r transport.Rank) Config {
					c := cfg
					c.Expert = poisoned{cfg.Expert, &flags[r][0], &flags[r][1]}
					return c
				}
				got, errs := runPassesWith(t, mine, []uint64{0, 1, 2}, func(r transport.Rank, on bool) {
					if r == culprit && backward {
						flags[r][1] = on
					} else if r == culprit {
						flags[r][0] = on
					}
				})
				for r, err := range errs {
					require.Equal(t, transport.Rank(culprit), transport.CulpritOf(err), "rank %d: %v", r, err)
					require.ErrorIs(t, err, alltoall.ErrNotFinite)
				}
				require.ErrorContains(t, errs[culprit], "+Inf")
				require.Equal(t, want, got)
			})
		}
	}
}

// overflows runs a pass on four ranks in which what the culprits make is too large for float32, and
// another after it. Under Wire.Finite every rank names the lowest of the culprits. Each rank
// changes its decision by spoil, which is given whether the rank is a culprit.
func overflows(t *testing.T, cfg Config, culprits []transport.Rank, spoil func(d *router.Decision, culprit bool), dy float32, says string) {
	t.Helper()
	cfg.Wire.Finite = true
	errs := onRanks(inprocWorlds(refusingRanks), func(w *World) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		spoils, cfg := (func(*router.Decision) *router.Decision)(nil), cfg
		culprit := slices.Contains(culprits, w.Rank())
		cfg.Router = spoiling{cfg.Router, &spoils}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		x, _ := batchOf(0, w.Rank())
		x.Data[0] = 2
		dys, _ := batchOf(1, w.Rank())
		if culprit {
			for i := range dys.Data {
				dys.Data[i] = dy
			}
		}
		spoils = func(d *router.Decision) *router.Decision {
			spoil(d, culprit)
			return d
		}
		_, wrong := l.Forward(ctx, x)
		if wrong == nil {
			_, wrong = l.Backward(ctx, dys)
		}
		spoils = nil
		if _, err := l.Forward(ctx, x); err != nil {
			return fmt.Errorf("the next batch failed: %w", err)
		}
		return wrong
	})
	for r, err := range errs {
		require.Equal(t, culprits[0], transport.CulpritOf(err), "rank %d: %v", r, err)
		require.ErrorIs(t, err, alltoall.ErrNotFinite, "rank %d", r)
		require.ErrorContains(t, err, says)
		require.NotErrorIs(t, err, ErrFailed, "rank %d", r)
	}
	for _, r := range culprits {
		require.ErrorContains(t, errs[r], says+" is +Inf")
	}
}

// TestWhatOverflowsIsTheFaultOfItsRank: mixtures, and gradients of answers and of those to
// centroids. Experts of other ranks get them, and what they make of them is not finite either.
func TestWhatOverflowsIsTheFaultOfItsRank(t *testing.T) {
	const huge = math.MaxFloat32
	keep := func(*router.Decision, bool) {}
	for name, c := range map[string]struct {
		router      router.Router
		compression Compression
		spoil       func(d *router.Decision, culprit bool)
		dy          float32
		says        string
	}{
		"mixtures": {router.SoftMoE{Slots: 1}, Compression{}, func(d *router.Decision, culprit bool) {
			if culprit {
				d.Mixture.Dispatch.Data[0] = huge
			}
		}, 1, "of the mixtures of its tokens"},
		"gradients of answers": {router.TopK{K: 2}, Compression{}, func(d *router.Decision, culprit bool) {
			if culprit {
				for i := range d.Weight {
					d.Weight[i] = 2
				}
			}
		}, huge, "of the gradients of answers"},
		"gradients of centroids' answers": {
			router.TopK{K: 4, Score: router.Sigmoid},
			Compression{When: CompressAlways, Assign: roundRobin(1)}, keep, huge, "of the gradients of centroids' answers",
		},
	} {
		for _, parallel := range []int{4, 2} {
			for _, culprits := range [][]transport.Rank{{1}, {3}, {1, 2}} {
				t.Run(fmt.Sprintf("%s/parallel=%d/ranks=%v", name, parallel, culprits), func(t *testing.T) {
					cfg := smallConfig()
					cfg.Router, cfg.Compression, cfg.ExpertParallel = c.router, c.compression, parallel
					overflows(t, cfg, culprits, c.spoil, c.dy, c.says)
				})
			}
		}
	}
}

// TestWhatAFormatMakesInfiniteIsTheFaultOfTheSender: a number too large for fp16 is one of the rank
// that sends it on this leg, whether it stays there or not.
func TestWhatAFormatMakesInfiniteIsTheFaultOfTheSender(t *testing.T) {
	const culprit, large = 3, 1e5
	for says, c := range map[string]struct {
		wire    alltoall.Wire
		x, dy   float32 // of the culprit's last token
		answers bool    // of its experts are large
		grads   bool    // or their gradients of rows
	}{
		"the rows that it sent, in fp16":                 {alltoall.Wire{Dispatch: alltoall.FP16}, large, 1, false, false},
		"the gradients of answers that it sent, in fp16": {alltoall.Wire{DispatchBack: alltoall.FP16}, 1, large * 10, false, false},
		"the answers that it sent, in fp16":              {alltoall.Wire{Combine: alltoall.FP16}, 1, 1, true, false},
		"the gradients of rows that it sent, in fp16":    {alltoall.Wire{CombineBack: alltoall.FP16}, 1, 1, false, true},
	} {
		for _, degree := range []int{1, 2} {
			for _, parallel := range []int{4, 2} {
				t.Run(fmt.Sprintf("%s/parallel=%d/chunks=%d", says, parallel, degree), func(t *testing.T) {
					errs := onRanks(inprocWorlds(refusingRanks), func(w *World) error {
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						cfg, mine := smallConfig(), w.Rank() == culprit
						cfg.Wire, cfg.ExpertParallel, cfg.Overlap.Degree = c.wire, parallel, degree
						cfg.Wire.Finite = true
						if parallel == 2 { // by which no hook is blamed, nor its rank
							cfg.Hooks = everyHook(inert)
						}
						cfg.Expert = scaled{cfg.Expert, mine && c.answers, mine && c.grads}
						l, err := NewLayer(w, cfg)
						if err != nil {
							return err
						}
						x, _ := batchOf(0, w.Rank())
						dy, _ := batchOf(1, w.Rank())
						if mine {
							scaleBy(mat.Rows(x, refusingTokens-1, refusingTokens), c.x)
							scaleBy(mat.Rows(dy, refusingTokens-1, refusingTokens), c.dy)
						}
						if _, err = l.Forward(ctx, x); err != nil {
							return err
						}
						_, err = l.Backward(ctx, dy)
						return err
					})
					for r, err := range errs {
						require.Equal(t, transport.Rank(culprit), transport.CulpritOf(err), "rank %d: %v", r, err)
						require.ErrorIs(t, err, alltoall.ErrNotFinite)
						require.NotErrorIs(t, err, ErrFailed)
					}
					require.ErrorContains(t, errs[culprit], strings.TrimSuffix(says, ", in fp16"))
				})
			}
		}
	}
}

// scaled is experts whose answers, or gradients of rows, are too large for fp16.
type scaled struct {
	expert.Expert
	answers, grads bool
}

func (s scaled) String() string { return "scaled" }

func (s scaled) New(shape expert.Shape) (expert.Group, error) {
	g, err := s.Expert.New(shape)
	return scaledGroup{g, s}, err
}

type scaledGroup struct {
	expert.Group
	by scaled
}

func (g scaledGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	y, saved := g.Group.Forward(x, rows)
	if g.by.answers {
		scaleBy(y, 1e9)
	}
	return y, saved
}

func (g scaledGroup) Backward(saved expert.Saved, dy blas32.General) blas32.General {
	dx := g.Group.Backward(saved, dy)
	if g.by.grads {
		scaleBy(dx, 1e9)
	}
	return dx
}

func scaleBy(m blas32.General, v float32) {
	for i := range m.Data {
		m.Data[i] *= v
	}
}

// TestAFailingAssignFailsAll: clusters that do not fit on one rank fail the batch on every rank at
// once, with several copies too.
func TestAFailingAssignFailsAll(t *testing.T) {
	for _, nodes := range []bool{false, true} {
		for _, parallel := range []int{4, 2} {
			for culprit := range transport.Rank(refusingRanks) {
				errs := onRanks(inprocWorlds(refusingRanks), func(w *World) error {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					cfg, fails := smallConfig(), false
					cfg.ExpertParallel, cfg.Topology = parallel, alltoall.Nodes(refusingRanks, 2)
					cfg.Compression = Compression{When: CompressAlways, Nodes: nodes, Assign: func(x blas32.General, ends []int) *lsh.Clusters {
						if fails {
							return nil
						}
						return roundRobin(2)(x, ends)
					}}
					l, err := NewLayer(w, cfg)
					if err != nil {
						return err
					}
					x, _ := batchOf(0, w.Rank())
					fails = w.Rank() == culprit
					_, wrong := l.Forward(ctx, x)
					fails = false
					if _, err := l.Forward(ctx, x); err != nil {
						return fmt.Errorf("the next batch failed: %w", err)
					}
					return wrong
				})
				for r, err := range errs {
					require.Equal(t, culprit, transport.CulpritOf(err), "rank %d: %v", r, err)
					require.ErrorIs(t, err, alltoall.ErrRefused)
					require.ErrorContains(t, err, "Compression.Assign")
				}
			}
		}
	}
}
