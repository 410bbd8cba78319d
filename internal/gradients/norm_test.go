package gradients_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// spread draws the experts of each of some ranks: consecutive ones, or any.
func spread(r *rand.Rand, experts, ranks int) [][]gradients.ExpertRange {
	list, at, any := make([][]gradients.ExpertRange, ranks), 0, r.IntN(2) == 0
	for e := range experts {
		switch {
		case any:
			at = r.IntN(ranks)
		case r.IntN(3) == 0:
			at = min(at+1, ranks-1)
		}
		list[at] = append(list[at], gradients.ExpertRange{Begin: e, End: e + 1})
		if n := len(list[at]); n > 1 && list[at][n-2].End == e {
			list[at] = list[at][:n-1]
			list[at][n-2].End++
		}
	}
	return list
}

// nodesOf adds float64 numbers as package tree adds vectors, by a slow recursion.
func nodesOf(leaves []float64, ranges []gradients.ExpertRange) (nodes []float64) {
	for _, of := range ranges {
		for _, at := range tree.Cover(of.Begin, of.End) {
			nodes = append(nodes, nodeOf(leaves, at))
		}
	}
	return nodes
}

func nodeOf(leaves []float64, at tree.Position) float64 {
	if at.Level == 0 {
		return leaves[at.Index]
	}
	left, right := tree.Position{Level: at.Level - 1, Index: 2 * at.Index}, tree.Position{Level: at.Level - 1, Index: 2*at.Index + 1}
	if first, _ := right.Leaves(); first >= len(leaves) {
		return nodeOf(leaves, left)
	}
	return nodeOf(leaves, left) + nodeOf(leaves, right)
}

// TestNormOfHasTheBitsOfTheTree however two owners' experts are spread over ranks, and tells every
// rank what the others say.
func TestNormOfHasTheBitsOfTheTree(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	for range 40 {
		ranks := 1 + r.IntN(4)
		var leaves [2][]float64
		var spreads [2][][]gradients.ExpertRange
		sum := 0.0
		for i := range leaves {
			for range 1 + r.IntN(20) {
				leaves[i] = append(leaves[i], r.Float64())
			}
			spreads[i] = spread(r, len(leaves[i]), ranks)
			level := 0
			for 1<<level < len(leaves[i]) {
				level++
			}
			sum += nodeOf(leaves[i], tree.Position{Level: level}) + float64(i+1)
		}
		want := math.Sqrt(sum)
		onRanks(t, ranks, 1, func(ctx context.Context, k *rank) error {
			var owners []gradients.Squares
			for i := range leaves {
				owners = append(owners, gradients.Squares{
					Held:    []gradients.HeldSquares{{Name: "the gate", Sum: float64(i + 1)}},
					Experts: nodesOf(leaves[i], spreads[i][k.me]), Answers: spreads[i],
				})
			}
			n, err := gradients.NormOf(ctx, k.cfg.World, owners, float64(k.me))
			require.NoError(t, err)
			require.Equal(t, want, n.Value)
			require.Nil(t, n.Fault)
			for rank, said := range n.Said {
				require.EqualValues(t, rank, said)
			}
			require.Len(t, n.Said, ranks)
			for _, held := range n.Held {
				require.Equal(t, n.Held[0], held)
			}
			require.Len(t, n.Held, ranks)
			if k.me == ranks-1 {
				owners[1].Held[0].Sum++
			}
			n, err = gradients.NormOf(ctx, k.cfg.World, owners, 1)
			require.NoError(t, err)
			require.Equal(t, ranks > 1, n.Held[0] != n.Held[ranks-1])
			return nil
		})
	}
}

// TestNormOfNamesWhatIsNotFinite, the first of it, and who hosts it.
func TestNormOfNamesWhatIsNotFinite(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, of := range []struct {
		experts [2]float64
		held    [2]float64
		want    *gradients.NotFinite
	}{
		{[2]float64{1, inf}, [2]float64{1, inf}, &gradients.NotFinite{Owner: 0, What: "experts 2 to 3", Rank: 1}},
		{[2]float64{1, 1}, [2]float64{1, nan}, &gradients.NotFinite{Owner: 0, What: "the gains", Rank: transport.None}},
		{[2]float64{1, 1}, [2]float64{1, 1}, nil},
	} {
		onRanks(t, 2, 2, func(ctx context.Context, k *rank) error {
			s := gradients.Squares{
				Held:    []gradients.HeldSquares{{Name: "the gate", Sum: of.held[0]}, {Name: "the gains", Sum: of.held[1]}},
				Experts: []float64{of.experts[k.me]}, Answers: [][]gradients.ExpertRange{{{Begin: 0, End: 2}}, {{Begin: 2, End: 4}}},
			}
			n, err := gradients.NormOf(ctx, k.cfg.World, []gradients.Squares{s, s})
			require.NoError(t, err)
			require.Equal(t, of.want, n.Fault)
			require.Equal(t, of.want == nil, n.Value-n.Value == 0)
			return nil
		})
	}
}

// TestDiscard forgets passes that wait and those that are summed.
func TestDiscard(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	dropped, kept := randomBatch(r, 4), randomBatch(r, 4)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		reducer := gradients.New(k.cfg)
		for range 2 {
			k.goBack(reducer, dropped, 2, 0)
			require.NoError(t, reducer.Reduce(ctx))
			k.goBack(reducer, dropped, 2, 0)
			require.NoError(t, reducer.Discard(ctx))
		}
		k.goBack(reducer, kept, 2, 0)
		require.NoError(t, reducer.ReduceAll(ctx))
		for i, want := range reference([]batch{kept}, 0) {
			require.InDelta(t, want, float64(flat(reducer.Sums())[i]), 1e-5)
		}
		return nil
	})
}

// TestScale multiplies the sums, of losses too; a pass that follows is added to the products.
func TestScale(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	before, after := randomBatch(r, 4), randomBatch(r, 4)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		reducer := gradients.New(k.cfg)
		k.goBack(reducer, before, 2, 0)
		require.NoError(t, reducer.ReduceAll(ctx))
		sums := append([]float32(nil), flat(reducer.Sums())...)
		reducer.Scale(0.5)
		for i, v := range flat(reducer.Sums()) {
			require.Equal(t, sums[i]/2, v)
		}
		k.goBack(reducer, after, 2, 0)
		require.NoError(t, reducer.ReduceAll(ctx))
		scaled := before
		scaled.grads = nil
		for _, g := range before.grads {
			half := make([]float32, len(g))
			for i := range g {
				half[i] = g[i] / 2
			}
			scaled.grads = append(scaled.grads, half)
		}
		for i, want := range reference([]batch{scaled, after}, 0) {
			require.InDelta(t, want, float64(flat(reducer.Sums())[i]), 1e-5)
		}
		return nil
	})
}
