// Package workload is a layer whose experts return what they are given, for commands that time the
// exchange alone.
package workload

import (
	"context"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// Rank is one rank of the layer that is measured.
type Rank struct {
	World    *switchyard.World
	Layer    *switchyard.Layer
	Experts  *Passthrough
	Decision *router.Decision
	Entries  [][]Entry         // of each token, experts ascending
	Tokens   [2]blas32.General // that go forward in turn, and backward where the other went forward
	Y, Dx    blas32.General
}

// Shape says how large the layer is: the tokens of each rank, their columns, the experts over all
// ranks, and those of each token.
type Shape struct{ Tokens, Dim, Experts, K int }

// Entry is one of a token's places in the rows sorted by expert.
type Entry struct {
	Row    int
	Expert int
	weight float32
}

// NewRank makes a rank of a layer of shape s over t, which it owns through World; route is one of
// RouteNames.
func NewRank(t transport.Transport, s Shape, route string) (*Rank, error) {
	r := &Rank{Experts: new(Passthrough), World: switchyard.NewWorld(t)}
	random := rand.New(rand.NewPCG(1, uint64(t.Rank())))
	for i := range r.Tokens {
		r.Tokens[i] = NewMatrix(s.Tokens, s.Dim)
		for j := range r.Tokens[i].Data {
			r.Tokens[i].Data[j] = random.Float32() - 0.5
		}
	}
	var err error
	if r.Decision, err = Decide(route, s.K, s.Experts, r.Tokens[0]); err != nil {
		return nil, err
	}
	r.Entries = entriesOf(r.Decision)
	r.Layer, err = switchyard.NewLayer(r.World, switchyard.Config{
		Dim: s.Dim, Experts: s.Experts, Group: switchyard.PerRank, Router: Decided{r.Decision}, Expert: r.Experts,
	})
	return r, err
}

func entriesOf(d *router.Decision) [][]Entry {
	list := make([][]Entry, d.Tokens)
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			t := d.Token[i]
			list[t] = append(list[t], Entry{i, e, d.Weight[i]})
		}
	}
	return list
}

// NewMatrix returns a matrix of zeros.
func NewMatrix(rows, cols int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
}

// Forward runs the forward pass of an iteration, and keeps its output in Y.
func (r *Rank) Forward(ctx context.Context, iteration int) (err error) {
	r.Y, err = r.Layer.Forward(ctx, r.Tokens[iteration%2])
	return err
}

// Backward runs the backward pass of an iteration, and keeps its output in Dx.
func (r *Rank) Backward(ctx context.Context, iteration int) (err error) {
	r.Dx, err = r.Layer.Backward(ctx, r.Tokens[(iteration+1)%2])
	return err
}

// Wrong counts the wrong elements of what the two passes of an iteration gave: of all, or of one of
// each row.
func (r *Rank) Wrong(iteration int, all bool) (forward, backward int) {
	begin, step := iteration%r.Y.Cols, r.Y.Cols
	if all {
		begin, step = 0, 1
	}
	x, dy := r.Tokens[iteration%2], r.Tokens[(iteration+1)%2]
	for t := range r.Entries {
		for c := t*x.Cols + begin; c < (t+1)*x.Cols; c += step {
			y, dx := r.Expected(t, x.Data[c], dy.Data[c])
			if r.Y.Data[c] != y {
				forward++
			}
			if r.Dx.Data[c] != dx {
				backward++
			}
		}
	}
	return forward, backward
}

// Expected is what becomes of an element x of token t and an element dy of its gradient, every
// product and sum rounded in the order in which a layer does them.
func (r *Rank) Expected(t int, x, dy float32) (y, dx float32) {
	for _, e := range r.Entries[t] {
		number := r.Experts.factor(e.Expert)
		y += float32(e.weight * float32(number*x))
		dx += float32(number * float32(e.weight*dy))
	}
	return y, dx
}
