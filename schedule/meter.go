package schedule

import (
	"fmt"
	"slices"
)

// Meter measures operations while they are used, and notices when they no longer cost what they did. Its zero value is
// ready for use. It is not safe for concurrent use.
type Meter struct {
	// Tolerance is by what part times may leave the line before the operation counts as drifted; 0 means 0.25.
	Tolerance float64
	// Window is how many of the latest times are compared; 0 means 16. Their median is, so that a hiccup does not count.
	Window int

	samples [Ops]Samples
	ratios  [Ops][]float64 // measured over expected, the latest last
}

// Validate reports every setting that makes no sense.
func (m *Meter) Validate() error {
	if !(m.Tolerance >= 0) || m.Window < 0 {
		return fmt.Errorf("schedule: Tolerance %v, Window %d; must not be negative", m.Tolerance, m.Window)
	}
	return nil
}

// Add records that an operation with the given work took so many seconds. expected is what costs that are in use say it
// would take, 0 if there are none yet. Work without starts is not recorded.
//
// The time of a collective includes waiting for ranks that come late: measure it after a barrier.
func (m *Meter) Add(op Op, w Work, seconds, expected float64) {
	if w.Starts <= 0 {
		return
	}
	m.samples[op].Add(w.Size/w.Starts, seconds/w.Starts)
	if expected > 0 {
		m.ratios[op] = append(m.ratios[op], seconds/expected)
		if extra := len(m.ratios[op]) - m.window(); extra > 0 {
			m.ratios[op] = slices.Delete(m.ratios[op], 0, extra)
		}
	}
}

// AddRun records every task of a timeline. costs may be nil.
func (m *Meter) AddRun(line *Timeline, costs *Costs) {
	for i, s := range line.Spans {
		t := &line.Graph.Tasks[i]
		if s.End <= s.Start {
			continue
		}
		expected := 0.0
		if costs != nil {
			expected = costs.Time(t)
		}
		m.Add(t.Op, t.Work, s.End-s.Start, expected)
	}
}

// Drifted returns the operations whose latest times, a whole window of them, have left the line. They are to be measured
// anew: forget them, and let Profile fit what comes after.
func (m *Meter) Drifted() []Op {
	tolerance := m.Tolerance
	if tolerance == 0 {
		tolerance = 0.25
	}
	var out []Op
	for op, r := range m.ratios {
		if len(r) < m.window() {
			continue
		}
		sorted := slices.Sorted(slices.Values(r))
		if middle := sorted[len(sorted)/2]; middle > 1+tolerance || middle < 1/(1+tolerance) {
			out = append(out, Op(op))
		}
	}
	return out
}

// Forget drops what was recorded of an operation.
func (m *Meter) Forget(op Op) { m.samples[op], m.ratios[op] = Samples{}, nil }

// Profile fits a line to each operation that has samples of two sizes.
func (m *Meter) Profile(machine string) *Profile {
	p := &Profile{Machine: machine, Fits: map[Op]Fit{}}
	for op := range m.samples {
		if f, err := m.samples[op].Fit(); err == nil {
			p.Fits[Op(op)] = f
		}
	}
	return p
}

func (m *Meter) window() int {
	if m.Window == 0 {
		return 16
	}
	return m.Window
}
