package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// twoDenseSets are sets of a program's own.
func twoDenseSets(w *World) (*Dense, [2]*param.Set, error) {
	sets := [2]*param.Set{
		param.NewSet(param.Tensor{Name: "w", Shape: []int{3, 5}}, param.Tensor{Name: "b", Shape: []int{5}}),
		param.NewSet(param.Tensor{Name: "w", Shape: []int{7}}),
	}
	d, err := NewDense(w, NamedSet{"embed", sets[0]}, NamedSet{"head", sets[1]})
	return d, sets, err
}

// densePass is the gradient of each leaf of a global batch, of the elements of both sets, and how
// many leaves each rank holds, by number of ranks.
type densePass struct {
	grads  [][]float32
	leaves map[int][]int
}

func randomDensePass(r *rand.Rand, leaves int) densePass {
	p := densePass{leaves: map[int][]int{}}
	for range leaves {
		g := make([]float32, 27)
		for i := range g {
			g[i] = float32(r.NormFloat64())
		}
		p.grads = append(p.grads, g)
	}
	for _, ranks := range []int{1, 2, 3, 4, 8} {
		rest, list := leaves, make([]int, ranks)
		for i := range list {
			list[i] = r.IntN(rest + 1)
			if i == ranks-1 {
				list[i] = rest
			}
			rest -= list[i]
		}
		p.leaves[ranks] = list
	}
	return p
}

// enter enters this rank's leaves.
func (p densePass) enter(w *World, sets [2]*param.Set) (leaves []int) {
	leaves, first := p.leaves[w.Size()], 0
	for _, n := range leaves[:w.Rank()] {
		first += n
	}
	for i := first; i < first+leaves[w.Rank()]; i++ {
		copy(sets[0].Grad.Leaf(i), p.grads[i][:20])
		copy(sets[1].Grad.Leaf(i), p.grads[i][20:])
	}
	return leaves
}

// TestDenseGradientsHaveTheSameBits on any number of ranks, whatever leaves each has, and are near
// the sums in float64.
func TestDenseGradientsHaveTheSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 4))
	passes := []densePass{randomDensePass(r, 9), randomDensePass(r, 1), randomDensePass(r, 14)}
	want, squares := make([]float64, 27), 0.0
	for _, p := range passes {
		for _, g := range p.grads {
			for i, v := range g {
				want[i] -= float64(v)
			}
		}
	}
	for _, v := range want {
		squares += v * v
	}
	var first []float32
	var norm float64
	for _, ranks := range []int{1, 2, 3, 4, 8} {
		for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
			ctx := t.Context()
			d, sets, err := twoDenseSets(w)
			require.NoError(t, err)
			for i, p := range passes {
				leaves := p.enter(w, sets)
				if i == 1 { // one by one
					if err := d.SumGradients(ctx, leaves, "head"); err != nil {
						return err
					}
					if err := d.SumGradients(ctx, leaves, "embed"); err != nil {
						return err
					}
				} else if err := d.SumGradients(ctx, leaves); err != nil {
					return err
				}
			}
			n, err := d.GradNorm(ctx)
			require.NoError(t, err)
			if err := d.Step(ctx, expert.NewSGD(1)); err != nil {
				return err
			}
			got := append(append([]float32(nil), sets[0].Value...), sets[1].Value...)
			if w.Rank() == 0 && ranks == 1 {
				first, norm = got, n
			}
			require.Equal(t, first, got)
			require.Equal(t, norm, n)
			require.InEpsilon(t, math.Sqrt(squares), n, 1e-6)
			return nil
		}) {
			require.NoError(t, err, "rank %d of %d", rank, ranks)
		}
	}
	for i, v := range want {
		require.InDelta(t, v, float64(first[i]), 1e-5)
	}
}

// TestClippingALayerAndDenseParameters takes the norm of both, on any number of ranks.
func TestClippingALayerAndDenseParameters(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	pass := randomDensePass(r, 6)
	var want string
	for _, ranks := range []int{1, 2, 4} {
		for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
			ctx := t.Context()
			l, err := NewLayer(w, normLayer())
			require.NoError(t, err)
			d, sets, err := twoDenseSets(w)
			require.NoError(t, err)
			if err := passOver(ctx, w, l, x, dy); err != nil {
				return err
			}
			if err := d.SumGradients(ctx, pass.enter(w, sets)); err != nil {
				return err
			}
			apart := 0.0
			for _, of := range []Trainable{l, d} {
				n, err := of.GradNorm(ctx)
				require.NoError(t, err)
				apart += n * n
			}
			norm, err := ClipGradients(ctx, 0.5, d, l)
			require.NoError(t, err)
			require.InEpsilon(t, math.Sqrt(apart), norm, 1e-12)
			clipped, err := GradNorm(ctx, d, l)
			require.NoError(t, err)
			require.InEpsilon(t, 0.5, clipped, 1e-6)
			sgd := expert.NewSGD(0.1)
			require.NoError(t, d.Step(ctx, sgd))
			require.NoError(t, l.Step(ctx, sgd))
			p, err := l.Parameters(ctx)
			require.NoError(t, err)
			got := fmt.Sprint(norm, sets[0].Value, sets[1].Value, p)
			if ranks == 1 {
				want = got
			}
			require.Equal(t, want, got)
			return nil
		}) {
			require.NoError(t, err, "rank %d of %d", rank, ranks)
		}
	}
}

// TestClippingOtherParts: a rank that leaves a part out, or that has other gradients of parameters
// that all hold, would scale by another factor than the others. It is an error on all of them that
// changes nothing.
func TestClippingOtherParts(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	pass := randomDensePass(r, 6)
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, normLayer())
		require.NoError(t, err)
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		if err := passOver(ctx, w, l, x, dy); err != nil {
			return err
		}
		if err := d.SumGradients(ctx, pass.enter(w, sets)); err != nil {
			return err
		}
		before, err := GradNorm(ctx, l, d)
		require.NoError(t, err)
		for _, wrong := range []func() []Trainable{
			func() []Trainable { return []Trainable{l} },
			func() []Trainable {
				sets[1].Frozen = true
				return []Trainable{l, d}
			},
		} {
			parts := []Trainable{l, d}
			if w.Rank() == 2 {
				parts = wrong()
			}
			_, err = ClipGradients(ctx, 1e-3, parts...)
			require.ErrorIs(t, err, transport.ErrMismatch)
			require.NotErrorIs(t, err, ErrFailed)
			require.ErrorContains(t, err, "rank 2: ClipGradients: ")
			require.ErrorContains(t, err, "it gave other parts than rank 0")
			sets[1].Frozen = false
		}
		after, err := ClipGradients(ctx, before/2, l, d)
		require.Equal(t, before, after)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestDenseStepThatIsRefused fails on every rank, names the one at fault and changes nothing. It
// can be repeated.
func TestDenseStepThatIsRefused(t *testing.T) {
	pass := randomDensePass(rand.New(rand.NewPCG(2, 4)), 5)
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		ctx := t.Context()
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		require.NoError(t, d.SumGradients(ctx, pass.enter(w, sets)))
		for _, rate := range []float32{0.5, -1} {
			sgd := expert.NewSGD(0.1)
			if w.Rank() == 2 {
				sgd.LR = rate
			}
			err := d.Step(ctx, sgd)
			require.NotErrorIs(t, err, ErrFailed)
			if rate < 0 || w.Rank() < 2 {
				require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
			} else {
				require.ErrorIs(t, err, transport.ErrMismatch)
			}
		}
		require.Zero(t, sets[0].Value[0])
		require.NoError(t, d.Step(ctx, expert.NewSGD(1)))
		require.NotZero(t, sets[0].Value[0])
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestDenseSetsThatRanksSumInAnotherOrder would get each other's gradients where they are as long:
// a step is an error on every rank that changes nothing, and the next one is as good as ever.
func TestDenseSetsThatRanksSumInAnotherOrder(t *testing.T) {
	for name, sum := range map[string]func(d *Dense, sets [2]*param.Set, ctx context.Context, odd bool) error{
		"order of names": func(d *Dense, _ [2]*param.Set, ctx context.Context, odd bool) error {
			names := map[bool][2]string{false: {"embed", "head"}, true: {"head", "embed"}}[odd]
			return errors.Join(d.SumGradients(ctx, []int{1, 1}, names[0]), d.SumGradients(ctx, []int{1, 1}, names[1]))
		},
		"frozen on one rank": func(d *Dense, sets [2]*param.Set, ctx context.Context, odd bool) error {
			defer func() { sets[1].Frozen = odd }()
			return d.SumGradients(ctx, []int{1, 1})
		},
		"order of sets": func(d *Dense, sets [2]*param.Set, ctx context.Context, odd bool) error {
			if odd {
				other, err := NewDense(d.world, NamedSet{"head", sets[1]}, NamedSet{"embed", sets[0]})
				require.NoError(t, err)
				*d = *other
			}
			return d.SumGradients(ctx, []int{1, 1})
		},
	} {
		for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
			ctx, me := t.Context(), int(w.Rank())
			sets := [2]*param.Set{param.NewSet(param.Tensor{Name: "w", Shape: []int{3}}), param.NewSet(param.Tensor{Name: "w", Shape: []int{3}})}
			d, err := NewDense(w, NamedSet{"embed", sets[0]}, NamedSet{"head", sets[1]})
			require.NoError(t, err)
			enter := func() {
				sets[0].Grad.Leaf(me)[0] = 1
				sets[1].Grad.Leaf(me)[0] = 10
			}
			enter()
			require.NoError(t, sum(d, sets, ctx, me == 1))
			err = d.Step(ctx, expert.NewSGD(1))
			require.ErrorContains(t, err, fmt.Sprintf("rank %d: Step: ", 1-me))
			require.ErrorContains(t, err, "it has summed or frozen other sets than this rank, or in another order")
			require.ErrorIs(t, err, transport.ErrMismatch)
			require.NotErrorIs(t, err, ErrFailed)
			require.Equal(t, [2]float32{}, [2]float32{sets[0].Value[0], sets[1].Value[0]})
			require.NoError(t, d.DiscardGradients())
			sets[1].Frozen = false
			enter()
			require.NoError(t, d.SumGradients(ctx, []int{1, 1}, "embed"))
			require.NoError(t, d.SumGradients(ctx, []int{1, 1}, "head"))
			require.NoError(t, d.Step(ctx, expert.NewSGD(1)))
			require.Equal(t, [2]float32{-2, -20}, [2]float32{sets[0].Value[0], sets[1].Value[0]})
			return nil
		}) {
			require.NoError(t, err, "%s: rank %d", name, rank)
		}
	}
}

// TestDenseScaleAndDiscard multiply and forget what has been summed; Discard also what has not.
func TestDenseScaleAndDiscard(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 4))
	dropped, kept := randomDensePass(r, 5), randomDensePass(r, 4)
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		var values [2][]float32
		for i, factor := range []float32{1, 0.5} {
			d, sets, err := twoDenseSets(w)
			require.NoError(t, err)
			require.NoError(t, d.SumGradients(ctx, dropped.enter(w, sets)))
			dropped.enter(w, sets)
			require.NoError(t, d.DiscardGradients())
			require.NoError(t, d.SumGradients(ctx, kept.enter(w, sets)))
			require.NoError(t, d.ScaleGradients(ctx, factor))
			require.NoError(t, d.Step(ctx, expert.NewSGD(1)))
			values[i] = append(append(values[i], sets[0].Value...), sets[1].Value...)
		}
		for i, v := range values[0] {
			require.Equal(t, 0.5*v, values[1][i])
			sum := 0.0
			for _, g := range kept.grads {
				sum -= float64(g[i])
			}
			require.InDelta(t, sum, float64(v), 1e-5)
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestAFrozenDenseSet keeps its values, is not sent, and counts in no norm.
func TestAFrozenDenseSet(t *testing.T) {
	pass := randomDensePass(rand.New(rand.NewPCG(2, 4)), 4)
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		var sent [2]uint64
		for i := range 2 {
			sets[0].Frozen = i == 1
			leaves := pass.enter(w, sets)
			before := w.WireBytes()
			require.NoError(t, d.SumGradients(ctx, leaves))
			sent[i] = w.WireBytes() - before
			norm, err := d.GradNorm(ctx)
			require.NoError(t, err)
			value, head := append([]float32(nil), sets[0].Value...), sets[1].Value[0]
			require.NoError(t, d.Step(ctx, expert.NewSGD(1)))
			require.NotEqual(t, head, sets[1].Value[0])
			require.Empty(t, sets[0].Grad.Nodes())
			if i == 0 {
				require.NotEqual(t, value, sets[0].Value)
				continue
			}
			require.Equal(t, value, sets[0].Value)
			squares := 0.0
			for j := 20; j < 27; j++ {
				sum := 0.0
				for _, g := range pass.grads {
					sum += float64(g[j])
				}
				squares += sum * sum
			}
			require.InEpsilon(t, math.Sqrt(squares), norm, 1e-6)
		}
		require.Less(t, sent[1]*3, sent[0]+3, "7 of 27 elements")
		sets[1].Frozen = true
		pass.enter(w, sets)
		before := w.WireBytes()
		require.NoError(t, d.SumGradients(ctx, pass.leaves[2]))
		require.Equal(t, before, w.WireBytes())
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestFreezingDenseSets of which all are frozen, and one that is frozen after its sum: neither norm
// nor optimizer use it.
func TestFreezingDenseSets(t *testing.T) {
	alone(t, func(w *World) {
		ctx := t.Context()
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		sets[0].Frozen, sets[1].Frozen = true, true
		require.NoError(t, d.SumGradients(ctx, []int{0}))
		require.NoError(t, d.Step(ctx, expert.NewSGD(1)))
		sets[0].Frozen, sets[1].Frozen = false, false
		for _, set := range sets {
			set.Grad.Leaf(0)[0] = 2
		}
		require.NoError(t, d.SumGradients(ctx, []int{1}))
		sets[0].Frozen = true
		norm, err := d.GradNorm(ctx)
		require.NoError(t, err)
		require.Equal(t, 2.0, norm)
		require.NoError(t, d.Step(ctx, expert.NewSGD(1)))
		require.Zero(t, sets[0].Value[0])
		require.Equal(t, float32(-2), sets[1].Value[0])
	})
}

// TestMisuseOfDenseGradients is an error that says what is wrong, and does nothing.
func TestMisuseOfDenseGradients(t *testing.T) {
	alone(t, func(w *World) {
		ctx, sgd := t.Context(), expert.NewSGD(1)
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		refuse := func(err error, why string) {
			t.Helper()
			require.ErrorContains(t, err, why)
			require.NotErrorIs(t, err, ErrFailed)
		}
		refuse(d.Step(ctx, sgd), "rank 0: Step: there has been no SumGradients since the last Step")
		_, err = d.GradNorm(ctx)
		refuse(err, "rank 0: GradNorm: there has been no SumGradients since the last Step (the dense parameters)")
		refuse(d.SumGradients(ctx, []int{1, 2}), "rank 0: SumGradients: leaves are [1 2], want a number of at least 0 for each of the 1 ranks")
		refuse(d.SumGradients(ctx, []int{-1}), "leaves are [-1]")
		refuse(d.SumGradients(ctx, []int{1}), `the gradient of set "embed" has not exactly the leaves from 0 to before 1`)
		refuse(d.SumGradients(ctx, []int{0}, "haed"), `no set is called "haed", the names are ["embed" "head"]`)
		sets[0].Grad.Leaf(0)[0] = 1
		require.NoError(t, d.SumGradients(ctx, []int{1}, "embed"))
		sets[1].Grad.Leaf(0)[0] = 1
		refuse(d.Step(ctx, sgd), `the gradient of set "head" waits for SumGradients`)
		sets[1].Grad.Reset()
		for _, err := range []error{d.Step(ctx, sgd), d.ScaleGradients(ctx, 1)} {
			refuse(err, `the gradients of set "head" have been summed 0 times since the last Step, those of "embed" 1 times`)
		}
		_, err = d.State(nil)
		refuse(err, "call Step, or DiscardGradients")
		sets[1].Grad.Leaf(0)[0] = 1
		require.NoError(t, d.SumGradients(ctx, []int{1}, "head"))
		refuse(d.Step(ctx, nil), "no optimizer")
		require.NoError(t, d.Step(ctx, sgd))
		var none *Dense
		for _, of := range []*Dense{none, {}} {
			refuse(of.DiscardGradients(), "DiscardGradients: the parameters were not grouped by NewDense")
		}
		_, err = GradNorm(ctx, new(Dense))
		refuse(err, "GradNorm: the parameters were not grouped by NewDense")
	})
}

// TestDenseGradientsThatFail: a sum that is broken off ends the group, and says so.
func TestDenseGradientsThatFail(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		if w.Rank() == 1 {
			return nil // it never comes
		}
		for _, set := range sets {
			set.Grad.Leaf(0)[0] = 1
		}
		first := d.SumGradients(endingAfter(1), []int{1, 0})
		require.ErrorIs(t, first, ErrFailed)
		require.ErrorIs(t, d.Step(context.Background(), expert.NewSGD(1)), first)
		later := d.DiscardGradients()
		require.ErrorIs(t, later, first)
		require.ErrorContains(t, later, "switchyard: DiscardGradients: these parameters failed earlier, in SumGradients: ")
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}
