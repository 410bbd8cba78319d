package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// TestAuxiliaryRoutersAreCausal: in evaluation a token's experts and weights do not depend on
// others, and are those that the trained guess says.
func TestAuxiliaryRoutersAreCausal(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const tokens, dim = 24, 6
	for _, over := range []Scope{EachGroup, WholeBatch} {
		g, err := Modality{Groups: []ModalityGroup{{"text", 2}, {"image", 2}}, Aux: true, Over: over}.New(Shape{Dim: dim, Experts: 4, Seed: seed})
		require.NoError(t, err)
		x := strided(r, tokens, dim)
		b := Batch{Ends: []int{tokens}, Modality: make([]int32, tokens)}
		for i := range b.Modality {
			b.Modality[i] = int32(r.IntN(2))
		}
		asking, ok := g.(Consulting)
		require.Equal(t, over == WholeBatch, ok)
		if ok {
			counts, err := asking.Consult(x, b, Share{Index: 1, Count: 3}).Next(nil)
			require.NoError(t, err)
			require.Empty(t, counts, "no other rank is asked")
		}
		slow := &slowModality{dim: dim, hidden: dim / 2, first: [3]int{0, 2, 4}}
		for i := range g.Params().Tensors() {
			slow.p = append(slow.p, widen(dense(1, len(g.Params().Of(g.Params().Value, i)), g.Params().Of(g.Params().Value, i)))[0])
		}
		d, err := g.Route(x, b)
		require.NoError(t, err)
		for i, token := range widen(x) {
			guess := slow.guess(token, int(b.Modality[i]))
			alone, err := g.Route(mat.Rows(x, i, i+1), Batch{Ends: []int{1}, Modality: b.Modality[i : i+1]})
			require.NoError(t, err)
			for e := range 4 {
				at, here := find(d, i, e), find(alone, 0, e)
				require.Equal(t, at >= 0, here >= 0, "token %d, expert %d", i, e)
				mine := e/2 == int(b.Modality[i])
				require.Equal(t, mine && guess[e%2] > 0, at >= 0, "token %d, expert %d", i, e)
				if at >= 0 {
					require.Equal(t, d.Weight[at], alone.Weight[here])
				}
			}
		}
		require.Empty(t, d.Losses)
	}
}

// TestAuxiliaryRoutersLearn the choices of a batch that they see again and again.
func TestAuxiliaryRoutersLearn(t *testing.T) {
	const tokens, dim = 32, 8
	r := rand.New(rand.NewPCG(4, 4))
	g, err := Modality{Groups: []ModalityGroup{{"all", 2}}, Aux: true}.New(Shape{Dim: dim, Experts: 2, Seed: 4})
	require.NoError(t, err)
	x, b := strided(r, tokens, dim), Batch{Ends: []int{tokens}, Train: true, Modality: make([]int32, tokens)}
	var first, last float64
	for step := range 300 {
		d, err := g.Route(x, b)
		require.NoError(t, err)
		if last = d.Losses["auxiliary"]; step == 0 {
			first = last
		}
		grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: dense(tokens, dim, make([]float32, tokens*dim))}
		require.NoError(t, g.Backward(d, x, grad))
		for i, v := range g.Params().Grad.Total() {
			g.Params().Value[i] -= 2 * v
		}
		g.Params().Grad.Reset()
	}
	require.Less(t, last, first/3)
}

// TestAuxiliaryRoutersRefuseNaN: a NaN in any parameter, of the gate or of what guesses, is an
// error of the batch.
func TestAuxiliaryRoutersRefuseNaN(t *testing.T) {
	newGate := func() Gate {
		g, err := Modality{Groups: []ModalityGroup{{"text", 2}, {"image", 2}}, Aux: true}.New(Shape{Dim: 6, Experts: 4})
		require.NoError(t, err)
		return g
	}
	x, b := strided(rand.New(rand.NewPCG(5, 5)), 4, 6), Batch{Ends: []int{4}, Train: true, Modality: []int32{0, 1, 0, 1}}
	_, err := newGate().Route(x, b)
	require.NoError(t, err)
	for i, tensor := range newGate().Params().Tensors() {
		g := newGate()
		g.Params().Of(g.Params().Value, i)[0] = float32(math.NaN())
		_, err := g.Route(x, b)
		require.ErrorContains(t, err, "is NaN, not a finite number", "%+v", tensor)
	}
}
