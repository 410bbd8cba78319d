package expert

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/param"
)

// faults collects what is wrong with a configuration.
type faults []error

// atLeast notes a fault unless value is at least low.
func (f *faults) atLeast(field string, value, low int) {
	if value < low {
		*f = append(*f, fmt.Errorf("expert: %s is %d, must be at least %d", field, value, low))
	}
}

// size notes a fault unless value is from low to [check.MaxSize].
func (f *faults) size(field string, value, low int) {
	if err := check.Size(value, low); err != nil {
		*f = append(*f, errtext.Errorf("expert: %s is %w", field, err))
	}
}

// shape notes what is wrong with a shape and with the fields that every kind of expert has.
func (f *faults) shape(s Shape, hidden, workers int) {
	f.size("Shape.Dim", s.Dim, 1)
	f.size("Shape.First", s.First, 0)
	f.size("Shape.Count", s.Count, 0)
	f.size("Hidden", hidden, 1)
	f.atLeast("Workers", workers, 0)
}

// tensors notes a fault if the experts of one rank have too many parameters.
func (f *faults) tensors(list []param.Tensor) {
	if len(*f) > 0 {
		return
	}
	if err := param.Check(list...); err != nil {
		*f = append(*f, errtext.Errorf("expert: %w", err))
	}
}

func (f faults) err() error { return errors.Join(f...) }
