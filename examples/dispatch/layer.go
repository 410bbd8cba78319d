package main

import (
	"context"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// inLayer is step in a layer whose router and experts are the model's.
func (m *model) inLayer(ctx context.Context, world *switchyard.World, x blas32.General) (o outcome, err error) {
	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: dim, Experts: experts, Group: switchyard.PerRank,
		Router: &gate{m: m}, Expert: &group{m: m},
	})
	if err != nil {
		return o, err
	}
	y, err := layer.Forward(ctx, x)
	if err != nil {
		return o, err
	}
	loss, dy := distance(y)
	dx, err := layer.Backward(ctx, dy)
	if err != nil {
		return o, err
	}
	return m.outcome(loss, y, dx), nil
}

// gate is the model as a router of a layer.
type gate struct {
	m       *model
	indices []int32
	weights []float32
	slots   []int // where each entry of the decision stands in them
}

func (g *gate) String() string                        { return "the model's" }
func (g *gate) New(router.Shape) (router.Gate, error) { return g, nil }
func (g *gate) Params() *param.Set                    { return nil }

func (g *gate) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	g.indices, g.weights = g.m.route(x)
	g.slots = nil
	d := &router.Decision{
		Assignment: router.Assignment{Tokens: x.Rows, Experts: experts},
		GroupLoss:  make([]float64, len(b.Ends)), Counts: make([]int, experts),
	}
	for range b.Ends {
		d.GroupCapacity = append(d.GroupCapacity, math.MaxInt)
	}
	for e := range int32(experts) {
		for i, chosen := range g.indices {
			if chosen == e {
				d.Token, d.Weight = append(d.Token, int32(i/k)), append(d.Weight, g.weights[i])
				g.slots = append(g.slots, i)
				d.Counts[e]++
			}
		}
		d.Ends = append(d.Ends, len(d.Token))
	}
	return d, nil
}

func (g *gate) Backward(_ *router.Decision, x blas32.General, of router.Gradient) error {
	dweights := make([]float32, len(g.indices))
	for i, slot := range g.slots {
		dweights[slot] = of.Weights[i]
	}
	g.m.routeBackward(x, g.indices, g.weights, dweights, of.DX)
	return nil
}

// group is the model as the experts of a layer. The gradients of its parameters stay the model's.
type group struct{ m *model }

// saved is what a backward pass of the experts needs.
type saved struct {
	rows, answers blas32.General
	ends          []int
}

func (g *group) String() string                         { return "the model's" }
func (g *group) New(expert.Shape) (expert.Group, error) { return g, nil }
func (g *group) Params() *param.Set                     { return nil }

func (g *group) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	ends := make([]int, rows.Experts)
	for e := range ends {
		_, ends[e] = rows.Of(e)
	}
	answers := g.m.answer(x, ends)
	return answers, &saved{rows: x, answers: answers, ends: ends}
}

func (g *group) Backward(of expert.Saved, dy blas32.General) blas32.General {
	s := of.(*saved)
	return g.m.answerBackward(s.rows, s.ends, s.answers, dy)
}
