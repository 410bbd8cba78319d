package main

import (
	"context"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// layerRank is one rank of the layer that is measured.
type layerRank struct {
	world    *switchyard.World
	layer    *switchyard.Layer
	experts  *echoes
	decision *router.Decision
	entries  [][]entry         // of each token, experts ascending
	tokens   [2]blas32.General // that go forward in turn, and backward where the other went forward
	y, dx    blas32.General
}

// layerShape says how large the layer is: the tokens of each rank, their columns, the experts over all ranks, and those
// of each token.
type layerShape struct{ tokens, dim, experts, k int }

// entry is one of a token's places in the rows sorted by expert.
type entry struct {
	row    int
	expert int
	weight float32
}

func newLayerRank(t transport.Transport, s layerShape, route string) (*layerRank, error) {
	r := &layerRank{experts: new(echoes), world: switchyard.NewWorld(t)}
	random := rand.New(rand.NewPCG(1, uint64(t.Rank())))
	for i := range r.tokens {
		r.tokens[i] = newMatrix(s.tokens, s.dim)
		for j := range r.tokens[i].Data {
			r.tokens[i].Data[j] = random.Float32() - 0.5
		}
	}
	var err error
	if r.decision, err = decide(route, s.k, s.experts, r.tokens[0]); err != nil {
		return nil, err
	}
	r.entries = entriesOf(r.decision)
	r.layer, err = switchyard.NewLayer(r.world, switchyard.Config{
		Dim: s.dim, Experts: s.experts, Group: switchyard.PerRank, Router: decided{r.decision}, Expert: r.experts,
	})
	return r, err
}

func entriesOf(d *router.Decision) [][]entry {
	list := make([][]entry, d.Tokens)
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			t := d.Token[i]
			list[t] = append(list[t], entry{i, e, d.Weight[i]})
		}
	}
	return list
}

func newMatrix(rows, cols int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
}

func (r *layerRank) forward(ctx context.Context, iteration int) (err error) {
	r.y, err = r.layer.Forward(ctx, r.tokens[iteration%2])
	return err
}

func (r *layerRank) backward(ctx context.Context, iteration int) (err error) {
	r.dx, err = r.layer.Backward(ctx, r.tokens[(iteration+1)%2])
	return err
}

// wrong counts the wrong elements of what the two passes of an iteration gave: of all, or of one of each row.
func (r *layerRank) wrong(iteration int, all bool) (forward, backward int) {
	begin, step := iteration%r.y.Cols, r.y.Cols
	if all {
		begin, step = 0, 1
	}
	x, dy := r.tokens[iteration%2], r.tokens[(iteration+1)%2]
	for t := range r.entries {
		for c := t*x.Cols + begin; c < (t+1)*x.Cols; c += step {
			y, dx := r.expected(t, x.Data[c], dy.Data[c])
			if r.y.Data[c] != y {
				forward++
			}
			if r.dx.Data[c] != dx {
				backward++
			}
		}
	}
	return forward, backward
}

// expected is what becomes of an element x of token t and an element dy of its gradient, every product and sum rounded in
// the order in which a layer does them.
func (r *layerRank) expected(t int, x, dy float32) (y, dx float32) {
	for _, e := range r.entries[t] {
		number := r.experts.factor(e.expert)
		y += float32(e.weight * float32(number*x))
		dx += float32(number * float32(e.weight*dy))
	}
	return y, dx
}
