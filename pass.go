package switchyard

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
)

// pass is one batch on its way through the layer, and what its forward pass leaves for its backward
// pass.
type pass struct {
	*batch.Tokens
	routing.Result
	pipeline.Pass
	answers    blas32.General // of the experts, sorted by expert
	y, dx      blas32.General
	dweights   []float32         // gradients of the weights of answers
	compress   bool              // rows travel as centroids
	compressed *compression.Pass // nil if they do not
}

// counts counts the rows that go to each expert, by token group. Nobody may change it.
func (p *pass) counts() alltoall.Counts { return p.Result.Counts(p.Tokens) }

// release gives back what the pass holds.
func (p *pass) release() {
	p.Tokens.Release()
	if p.compressed != nil {
		p.compressed.Release()
		p.compressed = nil
	}
	if p.Handle != nil {
		p.Handle.Release()
		p.Handle = nil
	}
}
