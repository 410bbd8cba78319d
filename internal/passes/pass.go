package passes

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/internal/roworder"
	"github.com/switchyard-moe/switchyard/router"
)

// Pass is one batch on its way through the layer, and what Forward leaves for Backward. The zero
// value has no batch.
type Pass struct {
	batch.Tokens
	routing.Result
	pipeline.Pass
	// Y is the output of Forward, and DX the gradient of the tokens that Backward has made.
	Y, DX blas32.General
	// Compressed is nil if rows travel as they are.
	Compressed *compression.Pass

	opened
	ordered  roworder.Pass
	answers  blas32.General // of the experts, sorted by expert
	dweights []float32      // gradients of the weights of answers
}

// Begin begins a pass over x, which needs Open or Take before it can run. info is what the caller
// says of the tokens. Nothing is sent.
func (s *Stages) Begin(x blas32.General, info router.Batch, train bool) (Pass, error) {
	shape := s.Shape
	shape.Train = train
	tokens, err := batch.New(shape, &s.pool, x, info)
	return Pass{Tokens: tokens}, err
}

// Take makes p, which has released another, a pass of the same number over the batch of next.
func (s *Stages) Take(p *Pass, next Pass) {
	next.opened = p.opened
	*p = next
}

// counts counts the rows that go to each expert, by token group. Nobody may change it.
func (p *Pass) counts() alltoall.Counts { return p.Result.Counts(&p.Tokens) }

// uncompressed describes the pass's rows before they are compressed.
func (p *Pass) uncompressed() compression.Rows {
	return compression.Rows{
		Counts: p.counts(), Order: func(to blas32.General) { p.Decision.Order(to, p.X) },
		Step: p.Info.Step,
	}
}

// Load is the number of rows of each expert hosted here, from all ranks.
func (p *Pass) Load() []int {
	if load := p.Balance.Rows(); load != nil {
		return load
	}
	plan := p.Handle.Plan()
	load := make([]int, plan.Experts)
	for e := range load {
		for r := range plan.Ranks() {
			load[e] += plan.Segment(e, r).Rows
		}
	}
	return load
}

// Release gives back all that the pass holds but Y and DX, and forgets it.
func (s *Stages) Release(p *Pass) {
	s.Order.ReleaseRows(&p.ordered)
	p.Tokens.Release()
	if p.Compressed != nil {
		p.Compressed.Release()
	}
	s.Path.Release(&p.Pass)
	*p = Pass{Y: p.Y, DX: p.DX, opened: p.opened, ordered: p.ordered}
}

// ReleaseOutput gives back Y, and ReleaseInput DX.
func (s *Stages) ReleaseOutput(p *Pass) {
	s.Order.ReleaseOutput(&p.ordered)
	p.Y = blas32.General{}
}

// ReleaseInput gives back DX.
func (s *Stages) ReleaseInput(p *Pass) {
	s.Order.ReleaseInput(&p.ordered)
	p.DX = blas32.General{}
}
