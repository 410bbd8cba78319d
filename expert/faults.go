package expert

import (
	"errors"
	"fmt"
)

// faults collects what is wrong with a configuration.
type faults []error

// atLeast notes a fault unless value is at least low.
func (f *faults) atLeast(field string, value, low int) {
	if value < low {
		*f = append(*f, fmt.Errorf("expert: %s is %d, must be at least %d", field, value, low))
	}
}

// shape notes what is wrong with a shape and with the fields that every kind of expert has.
func (f *faults) shape(s Shape, hidden, workers int) {
	f.atLeast("Shape.Dim", s.Dim, 1)
	f.atLeast("Shape.First", s.First, 0)
	f.atLeast("Shape.Count", s.Count, 0)
	f.atLeast("Hidden", hidden, 1)
	f.atLeast("Workers", workers, 0)
}

func (f faults) err() error { return errors.Join(f...) }
