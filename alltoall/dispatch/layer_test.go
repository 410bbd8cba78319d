package dispatch_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/switchyardtest"
	"github.com/switchyard-moe/switchyard/transport"
)

// chosen is a router whose gate has the given routes, and notes the gradient of their weights.
type chosen struct {
	k        int
	indices  []int32
	weights  []float32
	dweights []float32
	slots    []int
}

func (c *chosen) String() string                        { return "the same on every rank" }
func (c *chosen) New(router.Shape) (router.Gate, error) { return c, nil }
func (c *chosen) Params() *param.Set                    { return nil }

func (c *chosen) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	d := &router.Decision{GroupLoss: make([]float64, len(b.Ends)), Counts: make([]int, experts)}
	for range b.Ends {
		d.GroupCapacity = append(d.GroupCapacity, math.MaxInt)
	}
	d.Tokens, d.Experts, c.slots = x.Rows, experts, nil
	for e := range int32(experts) {
		for i, chosen := range c.indices {
			if chosen == e {
				d.Token, d.Weight = append(d.Token, int32(i/c.k)), append(d.Weight, c.weights[i])
				c.slots = append(c.slots, i)
			}
		}
		d.Ends = append(d.Ends, len(d.Token))
	}
	return d, nil
}

func (c *chosen) Backward(_ *router.Decision, _ blas32.General, g router.Gradient) error {
	c.dweights = make([]float32, len(c.indices))
	for i, slot := range c.slots {
		c.dweights[slot] = g.Weights[i]
	}
	return nil
}

// own is a format as a codec of the program.
type own struct{ alltoall.Format }

const experts = 5

// TestTheBitsAreThoseOfALayer with the same routes, weights and experts: outputs, and the gradients
// of tokens, of weights and of the experts' parameters.
func TestTheBitsAreThoseOfALayer(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, c := range []struct {
		wire        alltoall.Wire
		compression *lsh.Config
	}{
		{},
		{wire: alltoall.Everywhere(alltoall.BF16)},
		{wire: alltoall.Everywhere(own{alltoall.FP8})},
		{wire: alltoall.Wire{Dispatch: alltoall.FP8, Combine: alltoall.FP16, Finite: true}},
		{compression: &lsh.Config{Rate: 0.4}},
		{compression: &lsh.Config{Bucketing: lsh.Controlled}},
		{compression: &lsh.Config{Compensation: lsh.Identity, Seed: 5}, wire: alltoall.Everywhere(alltoall.Int8)},
	} {
		p := newProblem(r, 3, 50, experts, 2)
		p.cfg.Hosted, p.cfg.Wire, p.cfg.Compression = []int{1, 4, 0}, c.wire, c.compression
		for _, err := range onRanks(3, func(tr transport.Transport) error {
			world := switchyard.NewWorld(tr)
			want, wantParams, err := p.layer(t.Context(), world)
			if err != nil {
				return err
			}
			view, err := world.View([]transport.Rank{0, 1, 2})
			if err != nil {
				return err
			}
			got, gotParams, err := p.alone(t.Context(), view)
			require.Equal(t, want, got)
			require.True(t, slices.Equal(wantParams, gotParams))
			return err
		}) {
			require.NoError(t, err)
		}
	}
}

// layer is a step of a layer, and the gradient of its experts' parameters.
func (p *problem) layer(ctx context.Context, w *switchyard.World) (o outcome, params []float32, err error) {
	x, dy, indices, weights := p.part(int(w.Rank()))
	gate := &chosen{k: p.k, indices: indices, weights: weights}
	var how switchyard.Compression
	if p.cfg.Compression != nil {
		how = switchyard.Compression{When: switchyard.CompressAlways, LSH: *p.cfg.Compression, ClusterGradients: true}
	}
	legs := p.cfg.Wire.Legs() // by default float32 with compression too
	wire := alltoall.Wire{Dispatch: legs[0], Combine: legs[1], DispatchBack: legs[2], CombineBack: legs[3], Finite: p.cfg.Wire.Finite}
	l, err := switchyard.NewLayer(w, switchyard.Config{
		Compression: how,
		Dim:         p.cfg.Dim, Experts: experts, Hosted: p.cfg.Hosted, Wire: wire, Group: switchyard.PerRank,
		Router: gate, Expert: expert.SwiGLU{Hidden: 4}, Seed: 3,
	})
	if err != nil {
		return o, nil, err
	}
	if _, err := l.Forward(ctx, dy); err != nil { // from which a control loop learns
		return o, nil, err
	}
	if _, err := l.Backward(ctx, dy); err != nil {
		return o, nil, err
	}
	if err := l.DiscardGradients(); err != nil {
		return o, nil, err
	}
	y, err := l.Forward(ctx, x)
	if err != nil {
		return o, nil, err
	}
	o.y = slices.Clone(y.Data)
	dx, err := l.Backward(ctx, dy)
	if err != nil {
		return o, nil, err
	}
	gradients, err := l.Gradients(ctx)
	begin, end := alltoall.Hosted(p.cfg.Hosted).Of(int(w.Rank()))
	for _, g := range gradients { // each of all experts
		n := len(g.Data) / experts
		params = append(params, g.Data[begin*n:end*n]...)
	}
	o.dx, o.dweights = slices.Clone(dx.Data), gate.dweights
	return o, params, err
}

// alone is the same with a dispatcher.
func (p *problem) alone(ctx context.Context, tr transport.Transport) (o outcome, params []float32, err error) {
	d, err := dispatch.New(ctx, tr, p.cfg)
	if err != nil {
		return o, nil, err
	}
	first, end := d.Hosted()
	group, err := expert.SwiGLU{Hidden: 4}.New(expert.Shape{Dim: p.cfg.Dim, First: first, Count: end - first, Seed: 3})
	if err != nil {
		return o, nil, err
	}
	other := *p
	other.x = p.dy
	if _, err := other.step(ctx, d, int(tr.Rank())); err != nil {
		return o, nil, err
	}
	x, dy, indices, weights := p.part(int(tr.Rank()))
	pass, err := d.Dispatch(ctx, x, indices, weights)
	if err != nil {
		return o, nil, err
	}
	defer pass.Release()
	plan := pass.Plan()
	answers, saved := group.Forward(pass.Rows(), expert.Rows{
		Experts: plan.Experts, Leaves: plan.TotalLeaves(), Ends: plan.Ends,
	})
	y, err := pass.Combine(ctx, answers)
	if err != nil {
		return o, nil, err
	}
	danswers, dweights, err := pass.CombineBackward(ctx, dy)
	if err != nil {
		return o, nil, err
	}
	dx, err := pass.DispatchBackward(ctx, group.Backward(saved, danswers))
	if err != nil {
		return o, nil, err
	}
	o = outcome{y: slices.Clone(y.Data), dx: slices.Clone(dx.Data), dweights: slices.Clone(dweights)}
	return o, slices.Clone(group.Params().Grad.Total()), nil
}

// TestOverTransports and on views of a group of ranks, with the same bits.
func TestOverTransports(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(35, 36)), 3, 30, experts, 2)
	want := p.run(t)
	for _, name := range []string{"", "tcp", "auto"} {
		parts := make([]outcome, 3)
		switchyardtest.Config{Transport: name}.Run(t, 4, func(ctx context.Context, w *switchyard.World) error {
			members := []transport.Rank{3, 1, 2}
			if w.Rank() == 0 {
				members = nil
			}
			group, err := w.Group(members)
			if err != nil || group == nil {
				return err
			}
			view, err := group.View([]transport.Rank{0, 1, 2})
			if err != nil {
				return err
			}
			parts[view.Rank()], err = p.onRank(ctx, view)
			return err
		})
		require.Equal(t, want, joined(parts), name)
	}
}
