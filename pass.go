package switchyard

import (
	"errors"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/router"
)

// passes begins the passes of a layer.
type passes struct {
	shape batch.Shape // Step is the number of steps taken
	pool  batch.Pool  // memory of copies without padding
	last  *pass       // the forward pass that Backward belongs to, if one waits
}

func newPasses(c Config) passes {
	return passes{shape: batch.Shape{Dim: c.Dim, Experts: c.Experts, Group: c.Group}}
}

// begin begins a pass over x. info is what the caller says of the tokens.
func (s *passes) begin(x blas32.General, info router.Batch, train bool) (*pass, error) {
	shape := s.shape
	shape.Train = train
	tokens, err := batch.New(shape, &s.pool, x, info)
	return &pass{Tokens: tokens}, err
}

// checkForward returns an error if a Forward of another batch than p waits for its Backward.
func (s *passes) checkForward(p *pass) error {
	if s.last == nil || p.Repeats(&s.last.Tokens) {
		return nil
	}
	return errors.New("the Forward before, of another batch, has had no Backward: " +
		"call Backward, or Discard where no gradient is wanted, or Eval in place of Forward")
}

// checkBackward returns the pass to whose answers dy is the gradient.
func (s *passes) checkBackward(dy blas32.General) (*pass, error) {
	if s.last == nil {
		return nil, errors.New("no Forward waits for it")
	}
	return s.last, s.last.CheckGradient(dy)
}

// drop releases the last forward pass, if one waits.
func (s *passes) drop() {
	if s.last != nil {
		s.last.release()
		s.last = nil
	}
}

// pass is one batch on its way through the layer, and what its forward pass leaves for its backward
// pass.
type pass struct {
	batch.Tokens
	routing.Result
	pipeline.Pass
	answers    blas32.General // of the experts, sorted by expert
	y, dx      blas32.General
	dweights   []float32         // gradients of the weights of answers
	compress   bool              // rows travel as centroids
	compressed *compression.Pass // nil if they do not
}

// counts counts the rows that go to each expert, by token group. Nobody may change it.
func (p *pass) counts() alltoall.Counts { return p.Result.Counts(&p.Tokens) }

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
