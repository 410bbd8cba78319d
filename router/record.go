package router

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
)

// Record is a router whose gate writes every decision to a file, for [Replay] or for analysis.
// Otherwise it is the router that it wraps. A decision is written
// under the layer's number and the batch's Step, Micro and Train, once: a pass may be run again,
// and batches of a step must have different numbers ([Batch.Micro]). A decision that cannot be
// written is an error of its Route.
//
// (Megatron-Core's router tracer and router replay.)
type Record struct {
	// Router decides. It must not be one whose rows are mixtures of tokens: they have no routes.
	Router Router
	// To is the file.
	To *Recorder
	// Layer is the layer's number in the file.
	Layer int
}

var (
	_ CausalRouter   = Record{}
	_ BoundedRouter  = Record{}
	_ WeightedRouter = Record{}
)

// String leaves out the file, which differs between ranks.
func (r Record) String() string { return fmt.Sprintf("{%s Layer:%d}", describe(r.Router), r.Layer) }

// Causal is described at [CausalRouter].
func (r Record) Causal() bool { return IsCausal(r.Router) }

// Bound is described at [BoundedRouter].
func (r Record) Bound(tokens, experts int, train bool) int {
	return boundOf(r.Router, tokens, experts, train)
}

// WeightSum is described at [WeightedRouter].
func (r Record) WeightSum(experts int) (least, most float64) {
	return weightSumOf(r.Router, experts)
}

// describe returns a router's type and configuration, as ranks compare them.
func describe(r Router) string {
	if s, ok := r.(fmt.Stringer); ok {
		return fmt.Sprintf("%T %s", r, s)
	}
	return strings.ReplaceAll(fmt.Sprintf("%T%+v", r, r), "\n", " ")
}

// New is described at [Router].
func (r Record) New(s Shape) (Gate, error) {
	var faults []error
	if r.To == nil {
		faults = append(faults, errors.New("router: Record without a Recorder"))
	} else if r.To.w == nil {
		faults = append(faults, errNoRecorder)
	}
	if r.Layer < 0 {
		faults = append(faults, fmt.Errorf("router: Record: layer %d", r.Layer))
	}
	if check.Nil(r.Router) {
		return nil, errors.Join(append(faults, errors.New("router: Record without a Router"))...)
	}
	g, err := r.Router.New(s)
	if err != nil {
		faults = append(faults, err)
	} else if _, ok := g.(Mixer); ok {
		faults = append(faults, fmt.Errorf("router: Record: %T mixes tokens, which have no routes", r.Router))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return newRecorded(g, r), nil
}

// newRecorded returns the gate of [Record] around g. It has only those abilities that g has.
func newRecorded(g Gate, r Record) Gate {
	w := &recorded{wrapper{g}, r}
	consulting, consults := g.(Consulting)
	logits, takesLogits := g.(LogitRouter)
	switch c, l := (&recordedConsulting{gate: w, inner: consulting}), (recordedLogits{w, logits}); {
	case consults && takesLogits:
		return struct {
			*recorded
			*recordedConsulting
			recordedLogits
		}{w, c, l}
	case consults:
		return struct {
			*recorded
			*recordedConsulting
		}{w, c}
	case takesLogits:
		return struct {
			*recorded
			recordedLogits
		}{w, l}
	}
	return w
}

// recorded is the gate of [Record].
type recorded struct {
	wrapper
	config Record
}

// Route is described at [Gate].
func (g *recorded) Route(x blas32.General, b Batch) (*Decision, error) {
	d, err := g.Gate.Route(x, b)
	return g.written(d, b, err)
}

// written is a decision that the gate inside returned, or an error if it cannot be written.
func (g *recorded) written(d *Decision, b Batch, err error) (*Decision, error) {
	if err == nil {
		err = g.write(d, b)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (g *recorded) write(d *Decision, b Batch) error {
	return g.config.To.Write(&RecordedRoute{
		RouteKey: RouteKey{g.config.Layer, b.Step, b.Micro, b.Train}, Groups: b.Ends, Assignment: d.Assignment, Counts: d.Counts,
	})
}

// recordedLogits is the ability of a recorded gate to be given logits.
type recordedLogits struct {
	gate  *recorded
	inner LogitRouter
}

// RouteLogits is described at [LogitRouter].
func (r recordedLogits) RouteLogits(logits blas32.General, b Batch) (*Decision, error) {
	d, err := r.inner.RouteLogits(logits, b)
	return r.gate.written(d, b, err)
}

// Release is described at [LogitRouter].
func (r recordedLogits) Release(d *Decision) { r.inner.Release(d) }

// recordedConsulting is the ability of a recorded gate to consult other ranks.
type recordedConsulting struct {
	gate   *recorded
	inner  Consulting
	failed error // why the last decision could not be written, until the next batch reports it
}

// Consult is described at [Consulting].
func (r *recordedConsulting) Consult(x blas32.General, b Batch, s Share) Consultation {
	b.Ends = slices.Clone(b.Ends)
	return &recordedConsultation{r.inner.Consult(x, b, s), r, b}
}

// recordedConsultation writes the decision of the one inside.
type recordedConsultation struct {
	Consultation
	of    *recordedConsulting
	batch Batch
}

// Next is described at [Consultation]. Decide cannot fail, so a decision that it could not write
// fails the first round of the next batch.
func (c *recordedConsultation) Next(sums []int64) ([]int64, error) {
	counts, err := c.Consultation.Next(sums)
	if sums == nil && err == nil {
		err, c.of.failed = cmp.Or(c.of.failed, c.of.gate.config.To.Err()), nil
	}
	return counts, err
}

// Decide is described at [Consultation].
func (c *recordedConsultation) Decide() *Decision {
	d := c.Consultation.Decide()
	c.of.failed = c.of.gate.write(d, c.batch)
	return d
}
