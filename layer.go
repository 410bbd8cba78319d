package switchyard

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// Layer is one rank's part of a mixture-of-experts layer: the gate, which every rank holds, and the experts hosted
// here. All ranks call its methods in the same order; any rank may have any number of tokens, none included.
// It is not safe for concurrent use.
type Layer struct {
	cfg      Config
	world    *World
	layout   layout
	gate     router.Gate
	experts  expert.Group
	shared   expert.Group // nil without one
	squeeze  *squeeze     // nil without compression
	exchange *alltoall.Exchange
	everyone *collective.Comm // over the world: the gate's gradients, token counts, configuration
	replicas *collective.Comm // over the ranks that host the same experts
	copies   *collective.Comm // over the ranks of one copy of the experts

	last    *pass // the forward pass that Backward belongs to
	pending *pass // a backward pass whose gradients are not yet summed over ranks
	grads   gradients
	steps   int // taken
	stats   Stats
	rows    blas32.General // scratch: rows sorted by expert
	weights []float32      // scratch: gradients of the rows' weights
	byToken rows.Index     // scratch: the rows of each token of the last forward pass
	y, dx   blas32.General
	dshared blas32.General // scratch: gradient of the shared expert's answers
}

// pass is what one batch's forward pass leaves for its backward pass.
type pass struct {
	x        blas32.General
	side     router.Batch // what else is known of the tokens
	ends     []int        // of the groups of this rank's tokens
	real     int          // tokens that are not padding
	batch    batch
	decision *router.Decision
	rounds   int // of counts that routing summed over the ranks
	handle   *alltoall.Handle
	saved    expert.Saved
	answers  blas32.General // of the experts, home again, sorted by expert

	sharedSaved expert.Saved

	squeezed  *lsh.Pass // nil where the rows travel as they are
	squeezing time.Duration
	residual  float64
}

// NewLayer builds this rank's part of a layer. It talks to the other ranks to check that all were given the
// same configuration; an error names the rank and the field that differ.
func NewLayer(world *World, cfg Config) (*Layer, error) {
	if err := cfg.Validate(world.Size()); err != nil {
		return nil, err
	}
	l := &Layer{cfg: cfg, world: world, layout: layoutOf(cfg, world)}
	l.connect()
	if err := l.agree(context.Background()); err != nil {
		return nil, err
	}
	return l, l.build()
}

// connect makes the layer's own channels.
func (l *Layer) connect() {
	w, at := l.world, l.layout
	l.everyone = collective.New(w.view(everyone(w.Size())))
	l.replicas = collective.New(w.view(at.sameExperts()))
	l.copies = collective.New(w.view(at.oneCopy()))
}

func (l *Layer) build() (err error) {
	first, end := l.layout.place.Of(l.layout.seat)
	if l.gate, err = l.cfg.Router.New(router.Shape{Dim: l.cfg.Dim, Experts: l.cfg.Experts, Seed: l.cfg.Seed}); err != nil {
		return err
	}
	if l.experts, err = l.cfg.Expert.New(expert.Shape{Dim: l.cfg.Dim, First: first, Count: end - first, Seed: l.cfg.Seed}); err != nil {
		return err
	}
	if err = l.newShared(); err != nil {
		return err
	}
	if err = l.newSqueeze(); err != nil {
		return err
	}
	l.exchange, err = alltoall.New(l.world.view(l.layout.oneCopy()), alltoall.Config{
		Placement: l.layout.place, Dim: l.cfg.Dim, MaxRows: l.cfg.MaxRows, LeafRows: l.slots(),
		Algorithm: l.cfg.Algorithm, Topology: l.layout.topology(l.cfg.Topology), Links: l.cfg.Links,
	})
	return err
}

// Forward sends each token, a row of x, to its experts, and returns their weighted answers, a row a token. A token
// that every expert dropped gets zeros. x must stay as it is until Backward returns; y is valid until the next Forward.
// A forward pass whose Backward was never called is forgotten.
func (l *Layer) Forward(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	return l.ForwardBatch(ctx, x, router.Batch{})
}

// ForwardBatch is Forward for tokens of which there is more to say: which are padding, of which modality each is, its
// number in the vocabulary, other features. Ends, Train and Step of side are the layer's to fill. Slices in it must
// stay as they are until Backward returns. Padding is never routed nor counted, and its rows of y and dx are zeros.
func (l *Layer) ForwardBatch(ctx context.Context, x blas32.General, side router.Batch) (y blas32.General, err error) {
	l.forget()
	p := l.newPass(x, side, true)
	err = l.forward(ctx, p)
	if err != nil {
		return blas32.General{}, err
	}
	l.last = p
	return l.y, nil
}

// Eval is Forward for evaluation: routers leave out what is for training alone, and nothing is kept for Backward.
func (l *Layer) Eval(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	return l.EvalBatch(ctx, x, router.Batch{})
}

// EvalBatch is to Eval what ForwardBatch is to Forward.
func (l *Layer) EvalBatch(ctx context.Context, x blas32.General, side router.Batch) (y blas32.General, err error) {
	l.forget()
	p := l.newPass(x, side, false)
	if err := l.forward(ctx, p); err != nil {
		return blas32.General{}, err
	}
	l.release(p)
	return l.y, nil
}

// forward is the whole way of a token: route, order, dispatch, compute, combine, restore.
func (l *Layer) forward(ctx context.Context, p *pass) (err error) {
	if err = l.route(ctx, p); err != nil {
		return err
	}
	if p.batch, err = l.census(ctx, p, nil); err != nil {
		return err
	}
	var arrived blas32.General
	if p.handle, arrived, err = l.dispatch(ctx, p); err != nil {
		return err
	}
	plan := p.handle.Plan()
	l.settle(p, plan)
	if err = l.countGlobally(ctx, p); err != nil {
		return err
	}

	var answers blas32.General
	answers, p.saved = l.experts.Forward(arrived, p.batch.rowsOf(plan))
	begin := time.Now()
	home, err := p.handle.Combine(ctx, answers)
	if err != nil {
		return err
	}
	l.exchanged(p, begin)
	p.answers = l.restoreCompressed(p, home)
	l.y = resize(l.y, p.x.Rows, l.cfg.Dim)
	l.restore(p)
	l.sharedForward(p, l.y)
	l.note(p, plan)
	return nil
}

// Backward takes the loss's gradient with respect to the last Forward's y and returns the one with respect to
// its x, valid until the next Backward. The gradients of parameters wait for Step; several passes add up. The
// auxiliary losses' gradient is added as if the mean over all tokens of the global batch stood in the loss.
func (l *Layer) Backward(ctx context.Context, dy blas32.General) (dx blas32.General, err error) {
	p := l.last
	if p == nil {
		panic("switchyard: Backward without a Forward")
	}
	l.check("Backward", dy)
	if dy.Rows != p.x.Rows {
		panic(fmt.Sprintf("switchyard: Backward: %d rows, the last Forward had %d", dy.Rows, p.x.Rows))
	}
	if err := l.reduce(ctx); err != nil { // an earlier pass not yet summed
		return blas32.General{}, err
	}
	l.last = nil
	defer l.release(p)

	drows, weights := l.packed(p.decision.NumRows()), p.decision.NumWeights()
	l.weights = slices.Grow(l.weights[:0], weights)[:weights]
	l.restoreBackward(p, drows, dy)
	arrived, err := p.handle.Dispatch(ctx, l.backwardCompressed(p, drows))
	if err != nil {
		return blas32.General{}, err
	}
	danswers := l.experts.Backward(p.saved, arrived)
	begin := time.Now()
	back, err := p.handle.Combine(ctx, danswers)
	if err != nil {
		return blas32.General{}, err
	}
	l.exchanged(p, begin)
	back = l.orderCompressed(p, drows, back)
	l.dx = resize(l.dx, p.x.Rows, l.cfg.Dim)
	l.orderBackward(p, back)
	err = l.gate.Backward(p.decision, p.x, router.Gradient{
		Weights: l.weights, LossScale: p.lossScale(), Rows: back, FirstLeaf: p.batch.firstLeaf(l.world.Rank()), DX: l.dx,
	})
	if err != nil {
		return blas32.General{}, err
	}
	l.sharedBackward(p, l.dx, dy)
	l.judgePass(p)
	l.pending = p
	return l.dx, nil
}

// check panics where a matrix does not fit the layer.
func (l *Layer) check(op string, m blas32.General) {
	if m.Rows < 0 || m.Rows > 0 && m.Cols != l.cfg.Dim {
		panic(fmt.Sprintf("switchyard: %s: a matrix of %d × %d, want columns %d", op, m.Rows, m.Cols, l.cfg.Dim))
	}
}

// packed returns the scratch matrix with the given number of rows.
func (l *Layer) packed(n int) blas32.General {
	l.rows = resize(l.rows, n, l.cfg.Dim)
	return l.rows
}

// forget drops the last forward pass, if its Backward never came.
func (l *Layer) forget() {
	if l.last != nil {
		l.release(l.last)
		l.last = nil
	}
}

func (l *Layer) release(p *pass) {
	if p.squeezed != nil {
		p.squeezed.Release()
		p.squeezed = nil
	}
	if p.handle != nil {
		p.handle.Release()
		p.handle = nil
	}
}
