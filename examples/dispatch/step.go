package main

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
)

// outcome is what a step leaves on one rank.
type outcome struct {
	loss            float64
	y, dx           []float32
	dgate, dexperts []float32
}

// step is a forward and a backward pass of this rank's tokens.
func (m *model) step(ctx context.Context, d *dispatch.Dispatcher, x blas32.General) (o outcome, err error) {
	// begin
	indices, weights := m.route(x)
	pass, err := d.Dispatch(ctx, x, indices, weights)
	if err != nil {
		return o, err
	}
	defer pass.Release()
	answers := m.answer(pass.Rows(), pass.Ends())
	y, err := pass.Combine(ctx, answers)
	if err != nil {
		return o, err
	}
	loss, dy := distance(y)
	danswers, dweights, err := pass.CombineBackward(ctx, dy)
	if err != nil {
		return o, err
	}
	drows := m.answerBackward(pass.Rows(), pass.Ends(), answers, danswers)
	dx, err := pass.DispatchBackward(ctx, drows)
	if err != nil {
		return o, err
	}
	m.routeBackward(x, indices, weights, dweights, dx)
	// end
	return m.outcome(loss, y, dx), nil
}
