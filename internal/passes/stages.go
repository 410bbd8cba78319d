// Package passes runs the passes of one layer: it takes tokens through its stages, forward and
// backward.
//
// In a forward pass the rows of tokens are routed, ordered by expert, compressed, dispatched,
// computed, combined and restored to the order of tokens. A backward pass goes the other way. A
// [Pass] holds what the one leaves for the other.
package passes

import (
	"context"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/internal/balancing"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/internal/roworder"
	"github.com/switchyard-moe/switchyard/param"
)

// Stages are the parts of a layer through which its passes go.
type Stages struct {
	// Shape is what is the same for all tokens. Its Step is the number of steps taken.
	Shape batch.Shape
	// Routing decides, with the gate, which experts take which token.
	Routing *routing.Stage
	// Order is of rows, between tokens and experts.
	Order *roworder.Stage
	// Compression is nil if the layer has none.
	Compression *compression.Stage
	// Balance is nil if the layer shares no experts out.
	Balance *balancing.Stage
	// Ranks connects the ranks.
	Ranks Ranks
	// Path takes rows to the experts and back, in chunks.
	Path *pipeline.Path
	// Checks finds numbers that are not finite, and ForwardChecks says that forward passes share
	// what is found.
	Checks        *passcheck.Stage
	ForwardChecks bool
	// Gradients sums those of the passes since the last step.
	Gradients *gradients.Reducer
	// Turn has passes compute in turn.
	Turn *lifecycle.Turn
	// Exchanging counts the nanoseconds in which rows and their counts are exchanged.
	Exchanging *atomic.Int64

	pool batch.Pool // memory of copies without padding
}

// SetWire sets the formats of rows of the passes that follow, on all ranks alike, to those that
// compression has chosen, if it chooses any.
func (s *Stages) SetWire() error {
	s.Checks.Wire = s.Compression.Wire(s.Checks.Wire)
	w := s.Checks.Wire
	w.Finite = false // it could only refuse alone: Checks does it on all ranks
	return s.Ranks.Exchange.SetWire(w)
}

// decide has compression decide how rows travel from the next step on.
func (s *Stages) decide(ctx context.Context) error {
	if decided, err := s.Compression.Decide(ctx, s.Shape.Step); err != nil || !decided {
		return err
	}
	return s.SetWire()
}

// UpdateBias moves the bias by which a gate balances its load, unless it is frozen, by the load
// since the last step.
func (s *Stages) UpdateBias(ctx context.Context) error {
	if s.Gradients.Frozen(param.Bias) {
		s.Routing.DropTally()
		return nil
	}
	return s.Routing.UpdateBias(ctx)
}

// EndStep ends a step of the optimizer: what later passes go by is decided, on all ranks alike.
func (s *Stages) EndStep(ctx context.Context) error {
	step := s.Shape.Step
	s.Shape.Step++
	s.Balance.Changed()
	if err := s.Compression.EndStep(ctx, s.Ranks.Everyone, step); err != nil {
		return errtext.Errorf("switchyard: Compression: %w", err)
	}
	if err := s.decide(ctx); err != nil {
		return errtext.Errorf("switchyard: Compression.When CompressAuto: %w", err)
	}
	if err := s.Path.EndStep(ctx); err != nil {
		return errtext.Errorf("switchyard: Overlap.Auto: %w", err)
	}
	return nil
}
