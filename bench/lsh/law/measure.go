package law

import (
	"context"
	"errors"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// results is what a layer makes of all tokens of a block.
type results struct {
	y, dx   []float32
	weights [][]float32 // gradients of experts' weights
}

// run sends the first tokens of a block through a layer, as many at once as give each expert rows
// rows in the mean, and back.
func (b *block) run(ctx context.Context, cfg switchyard.Config, tokens, rows int) (r *results, err error) {
	world := switchyard.NewWorld(inproc.New(1)[0])
	defer func() { err = errors.Join(err, world.Close()) }()
	cfg.Dim, cfg.Experts = b.x.Cols, b.experts
	cfg.Router, cfg.Expert = stillRouter{router.TopK{K: b.topK}}, expert.FFN{Hidden: b.hidden, Activation: expert.GELU}
	layer, err := switchyard.NewLayer(world, cfg)
	if err != nil {
		return nil, err
	}
	if err := layer.Load(b.params); err != nil {
		return nil, err
	}
	if err := layer.SetFrozen(ctx, param.Gate); err != nil {
		return nil, err
	}
	r = &results{}
	for begin, each := 0, b.tokensFor(rows); begin < tokens; begin += each {
		end := min(begin+each, tokens)
		if err := r.pass(ctx, layer, rowsOf(b.x, begin, end), rowsOf(b.dy, begin, end)); err != nil {
			return nil, err
		}
	}
	gradients, err := layer.Gradients(ctx)
	for _, g := range gradients {
		if g.Name == "expert.w1" || g.Name == "expert.w2" {
			r.weights = append(r.weights, g.Data)
		}
	}
	return r, errors.Join(err, layer.DiscardGradients())
}

// tokensFor is how many tokens give each expert rows rows in the mean.
func (b *block) tokensFor(rows int) int { return max(rows*b.experts/b.topK, 1) }

// pass takes tokens forward and back.
func (r *results) pass(ctx context.Context, layer *switchyard.Layer, x, dy blas32.General) error {
	y, err := layer.Forward(ctx, x)
	if err != nil {
		return err
	}
	r.y = appendRows(r.y, y)
	dx, err := layer.Backward(ctx, dy)
	r.dx = appendRows(r.dx, dx)
	return err
}

func rowsOf(m blas32.General, begin, end int) blas32.General {
	return blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Stride, Data: m.Data[begin*m.Stride : end*m.Stride]}
}

func appendRows(to []float32, m blas32.General) []float32 {
	for i := range m.Rows {
		to = append(to, m.Data[i*m.Stride:i*m.Stride+m.Cols]...)
	}
	return to
}

// errorOf is ‖got − want‖/‖want‖.
func errorOf(got, want [][]float32) float64 {
	var off, all float64
	for i := range want {
		for j, w := range want[i] {
			d := float64(got[i][j]) - float64(w)
			off += d * d
			all += float64(w) * float64(w)
		}
	}
	return math.Sqrt(off / all)
}

// stillRouter routes as another router and sends no gradient back through the gate, so that those
// of rows are of experts alone.
type stillRouter struct{ router.Router }

// New is described at router.Router.
func (r stillRouter) New(s router.Shape) (router.Gate, error) {
	g, err := r.Router.New(s)
	return stillGate{g}, err
}

type stillGate struct{ router.Gate }

// Backward is described at router.Gate.
func (stillGate) Backward(*router.Decision, blas32.General, router.Gradient) error { return nil }
