package compression

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

const (
	// sampleEvery is the number of steps from one whose passes are sampled to the next. These are
	// compressed even if the error before was too large.
	sampleEvery = 32
	// enough is the share of the largest error below which compression goes on again.
	enough = 0.8
)

// squares are sums of squares over sampled rows: of restored answers less true ones, and of the
// true ones.
type squares struct{ off, all float64 }

func (s *squares) add(t squares) { s.off, s.all = s.off+t.off, s.all+t.all }

// watch turns compression off while the error of answers is too large, on all ranks alike.
type watch struct {
	most  float64 // error
	error float64 // of the last sample, over all ranks; 0 before the first one
	off   bool
	seen  squares // by this rank, since the last sample
}

// judge takes what all ranks have seen.
func (w *watch) judge(all squares) {
	if all.all == 0 && all.off == 0 {
		return // no rank has compressed anything
	}
	if w.error = math.Sqrt(all.off / all.all); math.IsNaN(w.error) {
		w.error = math.Inf(1)
	}
	most := w.most
	if w.off {
		most *= enough
	}
	w.off = w.error > most
}

// samples reports whether rows of a step's passes are sampled. Under a policy they also are while
// no error is known, since it may not have chosen clusters before. All ranks know the same.
func (s *Stage) samples(step int) bool {
	if s.watch == nil || !s.inWindow(step) {
		return false
	}
	return (step-s.cfg.From)%sampleEvery == 0 || s.policy != nil && s.watch.error == 0
}

// EndStep ends a step of the optimizer, of the given number, while no pass is in flight. All ranks
// of comm call it, and have the same error of answers afterwards.
func (s *Stage) EndStep(ctx context.Context, comm *collective.Comm, step int) error {
	if s == nil || !s.samples(step) {
		return nil
	}
	seen := s.takeSeen()
	sums := []float64{seen.off, seen.all}
	if err := comm.AllReduceFloat64(ctx, sums, collective.Sum); err != nil {
		return fmt.Errorf("summing the errors of answers: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.judge(squares{sums[0], sums[1]})
	return nil
}

// takeSeen returns what this rank has seen, and forgets it.
func (s *Stage) takeSeen() squares {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.watch.seen
	s.watch.seen = squares{}
	return seen
}

// List lists what the stage has learned that decides on the bits of later passes.
func (s *Stage) List(list *parameters.Lister) {
	if s == nil {
		return
	}
	if depths := s.Depths(); depths != nil {
		s.list(list, "compression.depth", depths, s.Depths, s.SetDepths)
	}
	if s.watch != nil {
		s.list(list, "compression.error", s.watch.state(), s.watch.state, s.watch.setState)
	}
}

// list lists numbers of this rank alone.
func (s *Stage) list(list *parameters.Lister, name string, data []float64, now func() []float64, set func([]float64) error) {
	list.AddLocal(param.Entry{Name: name, Kind: param.Gain, Shape: []int{len(data)}, Data: data})
	list.OnSave(func() error {
		if n := now(); !slices.Equal(n, data) {
			return parameters.Changed(name, data, n)
		}
		return nil
	})
	list.OnLoad(func() error {
		if err := set(data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// state is the error of answers, and 1 if compression is off, else 0.
func (w *watch) state() []float64 {
	if w.off {
		return []float64{w.error, 1}
	}
	return []float64{w.error, 0}
}

func (w *watch) setState(v []float64) error {
	if !(v[0] >= 0) || v[1] != 0 && v[1] != 1 {
		return fmt.Errorf("an error of %v, off %v, want at least 0, off 0 or 1", v[0], v[1])
	}
	w.error, w.off = v[0], v[1] == 1
	return nil
}
