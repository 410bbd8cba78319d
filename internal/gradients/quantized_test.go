package gradients_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// halves writes multiples of one half: of small whole numbers and halves it loses nothing, and of
// others what is easy to tell.
type halves struct{}

func (halves) String() string  { return "halves" }
func (halves) Bytes(n int) int { return n }

func (halves) Append(dst []byte, row []float32) []byte {
	for _, v := range row {
		b := byte(0x80) // NaN
		if w := math.Round(float64(v) * 2); w > -128 && w < 128 {
			b = byte(int8(w))
		}
		dst = append(dst, b)
	}
	return dst
}

func (halves) Decode(row []float32, src []byte) error {
	for i, b := range src {
		row[i] = float32(int8(b)) / 2
		if b == 0x80 {
			row[i] = float32(math.NaN())
		}
	}
	return nil
}

// wholeBatch is a batch of small whole numbers, whose sums halves has.
func wholeBatch(r *rand.Rand, leaves int) batch {
	b := randomBatch(r, leaves)
	for i, g := range b.grads {
		b.tokens[i] = 2 // so that means are exact too
		for k := range g {
			g[k] = float32(r.IntN(3) - 1)
		}
	}
	return b
}

// TestRoundedSums of numbers of which nothing is lost are the exact ones: of several passes, before
// and after a norm of those before, in two steps, whatever is summed and shared.
func TestRoundedSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	passes := []batch{wholeBatch(r, 8), wholeBatch(r, 8), wholeBatch(r, 8)}
	for _, stepTokens := range []int{0, 100} {
		for _, of := range [][2]int{{1, 1}, {2, 1}, {2, 2}, {4, 2}, {3, 1}} {
			onRanks(t, of[0], of[1], func(ctx context.Context, k *rank) error {
				k.cfg.Sums = halves{}
				reducer := gradients.New(k.cfg)
				for range 2 {
					for i, b := range passes {
						k.goBack(reducer, b, of[0], stepTokens)
						if i == 1 {
							continue
						}
						if err := reducer.ReduceAll(ctx); err != nil {
							return err
						}
						for i, want := range reference(passes[:i+1], stepTokens) {
							require.InDelta(t, want, float64(flat(reducer.Sums())[i]), 1e-5, "element %d", i)
						}
					}
					if err := reducer.Step(ctx, new(recorder)); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
}

// TestRoundedSumsAreSummedOnceAStep: what each rank sends does not grow with the passes, and a norm
// after them sends nothing more of them.
func TestRoundedSumsAreSummedOnceAStep(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := wholeBatch(r, 4)
	var mu sync.Mutex
	calls := map[int]int{}
	for _, passes := range []int{1, 5} {
		onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
			k.cfg.Sums = halves{}
			for _, c := range []*collective.Comm{k.cfg.World, k.cfg.Replicas} {
				c.Watch(func(string) func(error) error {
					mu.Lock()
					defer mu.Unlock()
					calls[passes]++
					return func(err error) error { return err }
				})
			}
			reducer := gradients.New(k.cfg)
			for range passes {
				k.goBack(reducer, b, 2, 0)
				require.NoError(t, reducer.Reduce(ctx))
			}
			for range 3 {
				require.NoError(t, reducer.ReduceAll(ctx))
			}
			return nil
		})
	}
	require.Equal(t, map[int]int{1: 2 * 3, 5: 2 * 3}, calls, "one for all that every rank holds, and one for each group of experts")
}

// TestRoundedPassesInAnyOrder have the bits of ascending ones.
func TestRoundedPassesInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	var of inAnyOrder
	for range 5 {
		of.batches, of.ends = append(of.batches, randomBatch(r, 4)), append(of.ends, false)
	}
	order := r.Perm(len(of.batches))
	onRanks(t, 4, 2, func(ctx context.Context, k *rank) error {
		k.cfg.Sums = alltoall.Int4
		k.cfg.Turn = &lifecycle.Turn{Lock: new(sync.Mutex)}
		reducer := gradients.New(k.cfg)
		var sums [2][3][]float32
		for way := range sums {
			for step := range sums[way] {
				if way == 0 {
					for _, b := range of.batches {
						k.goBack(reducer, b, 4, 0)
					}
				} else if err := of.run(ctx, k, reducer, 4, 2, order); err != nil {
					return err
				}
				if err := reducer.ReduceAll(ctx); err != nil {
					return err
				}
				sums[way][step] = flat(reducer.Sums())
				if err := reducer.Step(ctx, new(recorder)); err != nil {
					return err
				}
			}
			reducer = gradients.New(k.cfg)
		}
		for step := range sums[0] {
			if err := same(sums[0][step], sums[1][step]); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
		return nil
	})
}

// TestRoundingErrorsComeBack: over many steps of the same gradients the mean of the sums goes to
// the exact sum. What experts of one rank alone have is exact.
func TestRoundingErrorsComeBack(t *testing.T) {
	b := randomBatch(rand.New(rand.NewPCG(3, 4)), 4)
	const steps = 300
	for _, of := range [][2]int{{2, 1}, {2, 2}} {
		onRanks(t, of[0], of[1], func(ctx context.Context, k *rank) error {
			k.cfg.Sums = halves{}
			reducer := gradients.New(k.cfg)
			want := reference([]batch{b}, 0)
			mean, farthest := make([]float64, len(want)), 0.
			for range steps {
				k.goBack(reducer, b, of[0], 0)
				require.NoError(t, reducer.ReduceAll(ctx))
				for i, v := range flat(reducer.Sums()) {
					mean[i] += float64(v) / steps
					if d := math.Abs(float64(v) - want[i]); i < 6 {
						farthest = max(farthest, d)
					} else if of[1] == 2 {
						require.InDelta(t, want[i], float64(v), 1e-5)
					}
				}
				require.NoError(t, reducer.Step(ctx, new(recorder)))
			}
			require.Greater(t, farthest, 0.1)
			for i, v := range mean {
				require.InDelta(t, want[i], v, 0.01, "element %d", i)
			}
			return nil
		})
	}
}

// TestWhatADiscardedStepHasLost goes with it if it has been summed, and else what steps before have
// lost stays.
func TestWhatADiscardedStepHasLost(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	first, huge, last := randomBatch(r, 4), randomBatch(r, 4), randomBatch(r, 4)
	for _, g := range huge.grads {
		for i := range g {
			g[i] *= 1e6
		}
	}
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		k.cfg.Sums = alltoall.Int4
		run := func(batches ...batch) []float32 {
			reducer := gradients.New(k.cfg)
			for i, b := range batches {
				k.goBack(reducer, b, 2, 0)
				switch {
				case i == len(batches)-1:
					require.NoError(t, reducer.ReduceAll(ctx))
				case &b.grads[0] == &huge.grads[0]:
					require.NoError(t, reducer.Reduce(ctx)) // on this rank
					if len(batches) == 2 {
						require.NoError(t, reducer.ReduceAll(ctx))
					}
					require.NoError(t, reducer.Discard(ctx))
				default:
					require.NoError(t, reducer.Step(ctx, new(recorder)))
				}
			}
			return slices.Clone(flat(reducer.Sums()))
		}
		require.NoError(t, same(run(last), run(huge, last)), "what the huge one has lost is forgotten")
		require.NoError(t, same(run(first, last), run(first, huge, last)), "which was not summed")
		require.Error(t, same(run(last), run(first, last)), "what the first has lost comes with the last")
		return nil
	})
}

// TestFrozenSetsLoseNothing: they are not sent, and begin again once they are thawed.
func TestFrozenSetsLoseNothing(t *testing.T) {
	b := randomBatch(rand.New(rand.NewPCG(5, 6)), 4)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		k.cfg.Sums = halves{}
		reducer, o := gradients.New(k.cfg), new(recorder)
		for _, frozen := range [][]param.Kind{nil, {param.Gate, param.Expert}, nil} {
			require.NoError(t, reducer.SetFrozen(ctx, frozen))
			k.goBack(reducer, b, 2, 0)
			require.NoError(t, reducer.Step(ctx, o))
		}
		require.Len(t, o.sums, 5+2+5)
		require.Equal(t, o.sums[0], o.sums[7], "the gate")
		require.Equal(t, o.sums[1], o.sums[8], "an expert")
		exact := reference([]batch{b}, 0)
		for i, want := range exact[2:5] { // of the shared expert, which is not frozen
			require.InDelta(t, 3*want, float64(o.sums[3][i]+o.sums[5][i]+o.sums[10][i]), 0.8)
		}
		return nil
	})
}

// TestRoundedLeavesThatDoNotFit are an error, as in an exact sum.
func TestRoundedLeavesThatDoNotFit(t *testing.T) {
	b := randomBatch(rand.New(rand.NewPCG(5, 6)), 4)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		k.cfg.Sums = alltoall.Int4
		reducer := gradients.New(k.cfg)
		p := reducer.Begin(1, gradients.Comms{})
		of := k.enter(&p, b, 2, 0)
		p.Do(func() { k.cfg.Sets.Shared.Grad.Leaf(8) })
		require.ErrorContains(t, p.Reduce(ctx, of), "gradients of the shared expert: gradient 0 does not hold leaves")
		return nil
	})
}

// listOf lists what a reducer has lost on a rank, with an optimizer or without.
func listOf(t *testing.T, k *rank, list func(*parameters.Lister), o expert.Stateful) *param.State {
	l := parameters.NewLister(k.me, k.cfg.World.Size(), 0, o)
	list(l)
	state, err := l.State()
	require.NoError(t, err)
	return state
}

// TestStateOfRoundedSums has what is lost, and a reducer that takes it up goes on with the same
// bits.
func TestStateOfRoundedSums(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	first, last := randomBatch(r, 8), randomBatch(r, 8)
	onRanks(t, 4, 2, func(ctx context.Context, k *rank) error {
		k.cfg.Sums, k.cfg.Placement = alltoall.Int4, alltoall.Hosted([]int{8, 8})
		for _, set := range k.cfg.Sets.Experts {
			*set = *param.NewSet(param.Tensor{Name: "w", Shape: []int{4, 1}})
		}
		old, taken := gradients.New(k.cfg), gradients.New(k.cfg)
		sgd := expert.NewSGD(1)
		require.Empty(t, listOf(t, k, old.List, nil).Entries)
		k.goBack(old, first, 4, 0)
		require.NoError(t, old.Step(ctx, new(recorder)))
		from, to := listOf(t, k, old.List, sgd), listOf(t, k, taken.List, sgd)
		var names []string
		for i, e := range from.Entries {
			names = append(names, strings.TrimSuffix(e.Name, fmt.Sprintf(".rank-%05d-of-00004", k.me)))
			require.True(t, e.Local)
			require.Equal(t, e.Name, to.Entries[i].Name)
			copy(to.Entries[i].Data.([]float32), e.Data.([]float32))
		}
		begin := k.me % 2 * 8
		require.Equal(t, []string{"sums.gate", "sums.losses", "sums.shared", "sums.compression",
			fmt.Sprintf("sums.experts.%d-%d", begin, begin+3), fmt.Sprintf("sums.experts.%d-%d", begin+4, begin+7)}, names)
		require.NoError(t, to.Loaded())
		var sums [2][]float32
		for i, reducer := range []*gradients.Reducer{old, taken} {
			k.goBack(reducer, last, 4, 0)
			require.NoError(t, reducer.ReduceAll(ctx))
			sums[i] = flat(reducer.Sums())
		}
		require.NoError(t, same(sums[0], sums[1]))
		require.NoError(t, from.Current())
		to.Entries[2].Data.([]float32)[1] = float32(math.NaN())
		require.ErrorContains(t, to.Loaded(), "sums.shared has a number that is not finite")
		return nil
	})
}

// newDense has two sets.
func newDense(k *rank) (*gradients.Dense, []*param.Set) {
	sets := []*param.Set{setOf(9), setOf(5)}
	return gradients.NewDense(gradients.DenseConfig{
		Names: []string{"embed", "head"}, Sets: sets, World: k.cfg.World,
		Joined: func(r transport.Rank) transport.Rank { return r },
	}), sets
}

// denseValue is an element of the gradient of a leaf of a set.
func denseValue(set, i, leaf int) float32 {
	return float32(set+1)*0.1 + float32(i)*0.03 - float32(leaf)*0.07
}

// enterDense enters a leaf of each set on each of three ranks.
func enterDense(k *rank, sets []*param.Set, scale float32) (leaves []int) {
	for s, set := range sets {
		v := set.Grad.Leaf(k.me)
		for i := range v {
			v[i] = scale * denseValue(s, i, k.me)
		}
	}
	return []int{1, 1, 1}
}

// TestDenseRoundedSums: rounding errors come back, whichever sets are summed together.
func TestDenseRoundedSums(t *testing.T) {
	const steps = 300
	onRanks(t, 3, 1, func(ctx context.Context, k *rank) error {
		d, sets := newDense(k)
		require.NoError(t, d.SetSums(halves{}))
		o := new(recorder)
		for step := range steps {
			leaves := enterDense(k, sets, 1)
			if step%3 == 0 {
				require.NoError(t, d.Sum(ctx, leaves, []int{1}))
				require.NoError(t, d.Sum(ctx, leaves, []int{0}))
			} else {
				require.NoError(t, d.Sum(ctx, leaves, []int{0, 1}))
			}
			require.NoError(t, d.CheckSummed())
			if err := d.Step(ctx, o); err != nil {
				return err
			}
		}
		for s, set := range sets {
			for i := range set.Value {
				mean, want, farthest := 0., 0., 0.
				for leaf := range 3 {
					want += float64(denseValue(s, i, leaf))
				}
				for step := range steps {
					v := float64(o.sums[2*step+s][i])
					mean += v / steps
					farthest = max(farthest, math.Abs(v-want))
				}
				require.LessOrEqual(t, farthest, 2., "set %d, element %d", s, i)
				require.InDelta(t, want, mean, 0.01, "set %d, element %d", s, i)
			}
		}
		return nil
	})
}

// TestWhatDenseSumsForget: what a sum has lost that is discarded, or was in another codec.
func TestWhatDenseSumsForget(t *testing.T) {
	onRanks(t, 3, 1, func(ctx context.Context, k *rank) error {
		run := func(forget func(d *gradients.Dense)) []float32 {
			d, sets := newDense(k)
			require.NoError(t, d.SetSums(alltoall.Int4))
			if forget != nil {
				require.NoError(t, d.Sum(ctx, enterDense(k, sets, 1e6), []int{0, 1}))
				forget(d)
			}
			require.NoError(t, d.Sum(ctx, enterDense(k, sets, 1), []int{0, 1}))
			o := new(recorder)
			require.NoError(t, d.Step(ctx, o))
			return slices.Concat(o.sums...)
		}
		want := run(nil)
		require.NoError(t, same(want, run((*gradients.Dense).Discard)))
		require.NoError(t, same(want, run(func(d *gradients.Dense) {
			require.NoError(t, d.Step(ctx, new(recorder)))
			require.NoError(t, d.SetSums(alltoall.Int4))
		})))
		require.Error(t, same(want, run(func(d *gradients.Dense) { require.NoError(t, d.Step(ctx, new(recorder))) })))
		return nil
	})
}

// TestDenseExactSums are those of Float32, as of no codec: bits do not depend on the ranks.
func TestDenseExactSums(t *testing.T) {
	onRanks(t, 3, 1, func(ctx context.Context, k *rank) error {
		var sums [2][]float32
		for i, codec := range []alltoall.Codec{nil, alltoall.Float32} {
			d, sets := newDense(k)
			require.NoError(t, d.SetSums(codec))
			require.NoError(t, d.Sum(ctx, enterDense(k, sets, 1), []int{0, 1}))
			for _, e := range listOf(t, k, d.List, expert.NewSGD(1)).Entries {
				require.False(t, e.Local, e.Name)
			}
			o := new(recorder)
			require.NoError(t, d.Step(ctx, o))
			sums[i] = slices.Concat(o.sums...)
		}
		return same(sums[0], sums[1])
	})
}

// TestStateOfDenseRoundedSums is an old one once the codec is set again.
func TestStateOfDenseRoundedSums(t *testing.T) {
	onRanks(t, 3, 1, func(ctx context.Context, k *rank) error {
		d, sets := newDense(k)
		require.NoError(t, d.SetSums(alltoall.FP8))
		sets[0].Frozen = true
		state := listOf(t, k, d.List, expert.NewSGD(1))
		last := state.Entries[len(state.Entries)-1]
		require.Equal(t, fmt.Sprintf("sums.head.rank-%05d-of-00003", k.me), last.Name)
		require.NoError(t, state.Current())
		require.NoError(t, d.Sum(ctx, enterDense(k, sets, 1), []int{0, 1}))
		require.NoError(t, state.Current())
		require.NoError(t, d.SetSums(alltoall.FP8))
		require.ErrorContains(t, state.Current(), "sums.head has begun again")
		return nil
	})
}

func TestCheckSums(t *testing.T) {
	require.NoError(t, gradients.CheckSums(nil))
	require.NoError(t, gradients.CheckSums(alltoall.NVFP4H))
	require.ErrorContains(t, gradients.CheckSums(alltoall.Format(99)), "is Format(99), want one of [float32")
	require.ErrorContains(t, gradients.CheckSums((*alltoall.Stochastic)(nil)), "is a nil *alltoall.Stochastic")
}
