package router

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/param"
)

// Recorder writes routes to a file, whose format recording.go describes. Each rank has its own. It
// may be used by many gates at once. It remembers a sum of each route of a layer's last 64 steps.
type Recorder struct {
	mu     sync.Mutex
	w      io.Writer
	buf    []byte
	failed error
	seed   maphash.Seed
	layers map[int]*recordedLayer
}

// recordedLayer is what a recorder remembers of a layer.
type recordedLayer struct {
	newest int // step
	sums   map[RouteKey]uint64
}

var errNoRecorder = errors.New("router: the Recorder was not made by NewRecorder")

// keptSteps is how many steps of a layer a recorder remembers.
const keptSteps = 64

// NewRecorder writes the header of a file of routes. The caller closes w after the last route.
func NewRecorder(w io.Writer) (*Recorder, error) {
	head := binary.LittleEndian.AppendUint32([]byte(recordingMagic), recordingVersion)
	if _, err := w.Write(head); err != nil {
		return nil, errtext.Errorf("router: header of a file of routes: %w", err)
	}
	return &Recorder{w: w, seed: maphash.MakeSeed(), layers: map[int]*recordedLayer{}}, nil
}

// Write writes one route, in one call of the underlying writer. One that is there already, as where
// a pass is run again, is not written twice; another one of the same batch is an error, and not
// written: two batches have one number, see [Batch.Micro]. After a failure of the writer, of which
// nobody knows how much is in the file, every later call fails too.
func (r *Recorder) Write(route *RecordedRoute) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	if r.w == nil {
		return errNoRecorder
	}
	if err := route.validate(); err != nil {
		return errtext.Errorf("router: recording a route: %w", err)
	}
	r.buf = route.append(r.buf[:0])
	known, err := r.knows(route.RouteKey, maphash.Bytes(r.seed, r.buf))
	if known || err != nil {
		return err
	}
	if _, err := r.w.Write(r.buf); err != nil {
		r.failed = errtext.Errorf("router: recording a route: %w", err)
	}
	return r.failed
}

// knows tells whether the route with that sum has been written, and notes it. The batch may have
// been written otherwise.
func (r *Recorder) knows(k RouteKey, sum uint64) (bool, error) {
	l := r.layers[k.Layer]
	if l == nil {
		l = &recordedLayer{sums: map[RouteKey]uint64{}}
		r.layers[k.Layer] = l
	}
	if old, ok := l.sums[k]; ok {
		if old != sum {
			return false, fmt.Errorf("router: recording %v: it has been recorded with other routes; batches of a step need numbers of their own, Batch.Micro", k)
		}
		return true, nil
	}
	l.sums[k] = sum
	if k.Step > l.newest {
		l.newest = k.Step
		maps.DeleteFunc(l.sums, func(k RouteKey, _ uint64) bool { return k.Step <= l.newest-keptSteps })
	}
	return false, nil
}

// Err returns the error of the writer, if it has failed.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Record is a router whose gate writes every decision to a file: for [Replay], and to see
// afterwards who went where. In all else it is the router that it wraps. A decision is written
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

var _ Router = Record{}

// String leaves out the file, which is another on each rank.
func (r Record) String() string { return fmt.Sprintf("{%s Layer:%d}", describe(r.Router), r.Layer) }

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
	} else if _, ok := g.(interface{ Slots() int }); ok {
		faults = append(faults, fmt.Errorf("router: Record: %T mixes tokens, which have no routes", r.Router))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	w := wrapper{g}
	if c, ok := g.(Consulting); ok {
		return &consultRecorded{recorded{w, r}, c, nil}, nil
	}
	return &recorded{w, r}, nil
}

// recorded is the gate of [Record].
type recorded struct {
	wrapper
	config Record
}

// Route is described at [Gate].
func (g *recorded) Route(x blas32.General, b Batch) (*Decision, error) {
	d, err := g.Gate.Route(x, b)
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

// consultRecorded is the gate of [Record] around one that consults other ranks.
type consultRecorded struct {
	recorded
	inner  Consulting
	failed error // what the last decision could not be written for, until somebody hears of it
}

// Consult is described at [Consulting].
func (g *consultRecorded) Consult(x blas32.General, b Batch, s Share) Consultation {
	b.Ends = slices.Clone(b.Ends)
	return &recordedConsultation{g.inner.Consult(x, b, s), g, b}
}

type recordedConsultation struct {
	Consultation
	gate  *consultRecorded
	batch Batch
}

// Next is described at [Consultation]. Decide cannot fail, so what it could not write fails the
// next batch's first round.
func (c *recordedConsultation) Next(sums []int64) ([]int64, error) {
	counts, err := c.Consultation.Next(sums)
	if sums == nil && err == nil {
		err, c.gate.failed = cmp.Or(c.gate.failed, c.gate.config.To.Err()), nil
	}
	return counts, err
}

// Decide is described at [Consultation].
func (c *recordedConsultation) Decide() *Decision {
	d := c.Consultation.Decide()
	c.gate.failed = c.gate.write(d, c.batch)
	return d
}

// wrapper passes on what a gate may have beside the methods of [Gate], where the one inside has it,
// and does nothing where it has not.
type wrapper struct{ Gate }

var (
	_ Balancer      = wrapper{}
	_ GlobalCounter = wrapper{}
	_ LossSplitter  = wrapper{}
)

// Bias is described at [Balancer].
func (w wrapper) Bias() []float32 {
	if g, ok := w.Gate.(Balancer); ok {
		return g.Bias()
	}
	return nil
}

// Tally is described at [Balancer].
func (w wrapper) Tally() []int64 {
	if g, ok := w.Gate.(Balancer); ok {
		return g.Tally()
	}
	return nil
}

// Rebalance is described at [Balancer].
func (w wrapper) Rebalance(sum []int64) {
	if g, ok := w.Gate.(Balancer); ok {
		g.Rebalance(sum)
	}
}

// LossParams is described at [LossSplitter].
func (w wrapper) LossParams() *param.Set {
	if g, ok := w.Gate.(LossSplitter); ok {
		return g.LossParams()
	}
	return nil
}

// WantsCounts is described at [GlobalCounter].
func (w wrapper) WantsCounts() bool {
	g, ok := w.Gate.(GlobalCounter)
	return ok && g.WantsCounts()
}

// SetCounts is described at [GlobalCounter].
func (w wrapper) SetCounts(d *Decision, counts []int, tokens int) {
	if g, ok := w.Gate.(GlobalCounter); ok {
		g.SetCounts(d, counts, tokens)
	}
}
