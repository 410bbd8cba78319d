package workload

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// Turning is the router and the gate of a decision that changes from step to step.
type Turning struct{ Decision *router.Decision }

// String is the same on all ranks, though their decisions are not.
func (*Turning) String() string { return "beforehand, by step" }

// New implements router.Router.
func (d *Turning) New(router.Shape) (router.Gate, error) { return d, nil }

// Params are none.
func (*Turning) Params() *param.Set { return nil }

// Route returns the decision of now.
func (d *Turning) Route(blas32.General, router.Batch) (*router.Decision, error) {
	return d.Decision, nil
}

// Backward does nothing: there are no parameters.
func (*Turning) Backward(*router.Decision, blas32.General, router.Gradient) error { return nil }
