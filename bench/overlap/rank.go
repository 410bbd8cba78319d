package overlap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/trace"
)

const (
	rankArg = harness.RankArg
	port    = 29700
	// profileSteps is more than the steps in which a layer finds its degree.
	profileSteps = 200
)

// overlapReport is what a rank says at its end.
type overlapReport struct {
	Rank    int
	Results []overlapResult // of each case
	// Lines are the last forward and backward pass in most chunks.
	Lines []overlapLine
}

// overlapLine is a timeline as text can carry it.
type overlapLine struct {
	Begin time.Time
	Tasks []schedule.Task
	Spans []schedule.Span
}

// overlapResult is what a rank saw of one case.
type overlapResult struct {
	Comm, Compute []time.Duration
	Steps         [][]time.Duration // of each mode
	Processor     [][]time.Duration // of this rank in those steps
	Predicted     []time.Duration   // by the layer that chooses; else 0
	Chosen        [][2]int          // its chunks, forward and backward
}

// overlapCase is one layer.
type overlapCase struct{ tokens, dim, hidden int }

func (o *options) cases() (list []overlapCase) {
	for _, t := range o.Tokens {
		for _, d := range o.Dims {
			for _, h := range o.Hidden {
				list = append(list, overlapCase{t, d, h})
			}
		}
	}
	return list
}

// degrees are those that are tried: powers of two up to most.
func (o *options) degrees() (list []int) {
	for d := 1; d <= o.Most; d *= 2 {
		list = append(list, d)
	}
	return list
}

// mode is how to run a step: in a number of chunks, 0 being as many as the layer chooses, with a
// number of micro-batches at a time, begun together or apart: the second once the first has gone
// forward, so that one goes forward while the other goes back, as in DualPipe.
type mode struct {
	degree, inFlight int
	apart            bool
}

// modes are those that are timed, plain steps in one chunk first.
func (o *options) modes() (list []mode) {
	for _, d := range append(o.degrees(), 0) {
		list = append(list, mode{degree: d, inFlight: 1})
	}
	if n := o.inFlight(); n > 1 {
		list = append(list, mode{degree: 1, inFlight: n}, mode{inFlight: n}, mode{degree: o.Most, inFlight: n, apart: true}, mode{inFlight: n, apart: true})
	}
	return list
}

// inFlight is how many micro-batches are at most: two, or all where their number is odd.
func (o *options) inFlight() int {
	if o.Micro%2 == 0 {
		return 2
	}
	return o.Micro
}

func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	report, err := rank(ctx, args, stderr)
	if err == nil || len(report.Results) > 0 { // also of what was done before it was stopped
		err = errors.Join(err, json.NewEncoder(stdout).Encode(report))
	}
	return harness.Conclude(ctx, err, stderr)
}

func rank(ctx context.Context, args []string, stderr io.Writer) (report overlapReport, err error) {
	var o options
	if report.Rank, err = harness.RankOptions(args, &o); err != nil {
		return report, err
	}
	w, err := netns.Join(ctx, report.Rank, o.Ranks, 1, port)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for i, c := range o.cases() {
		if report.Rank == 0 {
			fmt.Fprintf(stderr, "bench: case %d of %d: %d tokens of %d columns, %d hidden\n", i+1, len(o.cases()), c.tokens, c.dim, c.hidden)
		}
		r := runner{options: o, overlapCase: c, world: w}
		result, err := r.run(ctx)
		if err != nil {
			return report, err
		}
		report.Results, report.Lines = append(report.Results, result), r.lines
	}
	return report, nil
}

// runner times one case on one rank.
type runner struct {
	options
	overlapCase
	world *switchyard.World
	x, dy blas32.General
	lines []overlapLine
}

func (r *runner) run(ctx context.Context) (result overlapResult, err error) {
	random := rand.New(rand.NewPCG(7, uint64(r.world.Rank())))
	r.x, r.dy = workload.NewMatrix(r.tokens, r.dim), workload.NewMatrix(r.tokens, r.dim)
	for i := range r.x.Data {
		r.x.Data[i], r.dy.Data[i] = random.Float32()-0.5, random.Float32()-0.5
	}
	clock := &timed{Expert: expert.SwiGLU{Hidden: r.hidden}}
	echo, err := r.layer(new(workload.Passthrough), mode{degree: 1, inFlight: 1})
	if err != nil {
		return result, err
	}
	plain, err := r.layer(clock, mode{degree: 1, inFlight: 1})
	if err != nil {
		return result, err
	}
	timed, err := r.stacksOfModes(ctx, &result)
	if err != nil {
		return result, err
	}
	for round := range r.Rounds + 1 {
		took, err := r.step(ctx, echo, false)
		if err != nil {
			return result, err
		}
		clock.spent = 0
		if _, err := r.step(ctx, plain, false); err != nil {
			return result, err
		}
		if round > 0 {
			result.Comm, result.Compute = append(result.Comm, took), append(result.Compute, clock.spent)
		}
		r.lines = nil
		for n := range timed { // each round begins with the next one
			i := (n + round) % len(timed)
			if err := r.recut(timed[i], result.Chosen[i], r.modes()[i]); err != nil {
				return result, err
			}
			before := processorTime()
			if took, err = r.step(ctx, timed[i], r.modes()[i].apart); err != nil {
				return result, err
			}
			if round > 0 {
				result.Steps[i], result.Processor[i] = append(result.Steps[i], took), append(result.Processor[i], processorTime()-before)
			}
		}
	}
	return result, nil
}

// stacksOfModes makes what each mode is timed on. All numbers of chunks but one are on the layer
// that chooses, once it has: two layers of equal work differ by several per cent, as memory has it.
func (r *runner) stacksOfModes(ctx context.Context, result *overlapResult) (list [][]stack, err error) {
	chooser, err := r.settled(ctx, mode{inFlight: 1})
	if err != nil {
		return nil, err
	}
	for _, v := range r.modes() {
		on := chooser
		if !v.onChooser() {
			if on, err = r.settled(ctx, v); err != nil {
				return nil, err
			}
		}
		if on, err = r.inFlight(on, v); err != nil {
			return nil, err
		}
		at := on[0].layer.Stats().Overlap
		chosen, predicted := [2]int{at.Forward, at.Backward}, time.Duration(0)
		switch {
		case v.onChooser() && v.degree > 0:
			chosen = [2]int{v.degree, v.degree}
		case v.onChooser() && r.Dense == 0 && v.inFlight == 1:
			predicted = at.Predicted * time.Duration(r.Micro)
		}
		list = append(list, on)
		result.Chosen, result.Predicted = append(result.Chosen, chosen), append(result.Predicted, predicted)
		result.Steps, result.Processor = append(result.Steps, nil), append(result.Processor, nil)
	}
	return list, nil
}

// onChooser tells whether a mode is timed on the layer that chooses. Passes in flight at the same
// time take what it has chosen by those that ran alone.
func (v mode) onChooser() bool { return v.degree != 1 }

// recut has a mode's layer run in its chunks.
func (r *runner) recut(stacks []stack, chunks [2]int, v mode) error {
	if !v.onChooser() {
		return nil
	}
	layer := stacks[0].layer
	layer.Observe(nil)
	if v.degree == r.Most && r.TraceFile != "" {
		layer.Observe(r.observe)
	}
	return layer.SetDegree(chunks[0], chunks[1])
}

// settled makes a mode's layers and runs steps until these have the degree that they are to be
// timed in.
func (r *runner) settled(ctx context.Context, v mode) ([]stack, error) {
	stacks, err := r.layer(expert.SwiGLU{Hidden: r.hidden}, v)
	for n := 0; err == nil && n < profileSteps && (n == 0 || !haveChosen(stacks)); n++ {
		_, err = r.step(ctx, stacks, v.apart)
	}
	return stacks, err
}

// haveChosen tells whether all of a mode's layers have the degree that they are to be timed in.
func haveChosen(stacks []stack) bool {
	for _, l := range stacks {
		if s := l.layer.Stats().Overlap; s.Auto && s.Predicted == 0 {
			return false
		}
	}
	return true
}

// observe keeps the timelines of the step that is measured.
func (r *runner) observe(_ schedule.Pass, line schedule.Timeline) {
	r.lines = append(r.lines, overlapLine{line.Begin, line.Graph.Tasks, line.Spans})
}

// layer makes a layer with experts e for a mode.
func (r *runner) layer(e expert.Expert, v mode) ([]stack, error) {
	d, err := workload.Decide("random", r.K, r.Each*r.Ranks, r.x)
	if err != nil {
		return nil, err
	}
	o := switchyard.Overlap{Degree: v.degree}
	if v.degree == 0 {
		o = switchyard.Overlap{Degree: r.Most, Auto: true}
	}
	l, err := switchyard.NewLayer(r.world, switchyard.Config{
		Dim: r.dim, Experts: r.Each * r.Ranks, Group: switchyard.PerRank, Router: workload.Decided{Decision: d}, Expert: e, Overlap: o, MicroBatches: r.Micro,
	})
	if err != nil {
		return nil, err
	}
	of := stack{layer: l}
	if r.Dense > 0 {
		of.dense, err = r.denseLike(e)
	}
	return []stack{of}, err
}

// inFlight returns as many stacks on the layer of list as a mode has micro-batches in flight.
func (r *runner) inFlight(list []stack, v mode) (all []stack, err error) {
	for range v.inFlight {
		of := stack{layer: list[0].layer}
		if list[0].dense != nil {
			of.dense, err = r.denseLike(expert.SwiGLU{Hidden: r.hidden})
		}
		if all = append(all, of); err != nil {
			break
		}
	}
	return all, err
}

// denseLike makes the dense layer, timed where the experts are, and none where they do nothing.
func (r *runner) denseLike(e expert.Expert) (expert.Group, error) {
	var kind expert.Expert = expert.SwiGLU{Hidden: r.Dense}
	switch e := e.(type) {
	case *timed:
		kind = &timed{Expert: kind, clock: e}
	case *workload.Passthrough:
		return nil, nil
	}
	return kind.New(expert.Shape{Dim: r.dim, Count: 1, Seed: 1})
}

// step is a forward and a backward pass of each micro-batch, begun when all are ready; apart, each
// stack once the one before has gone forward for the first time.
func (r *runner) step(ctx context.Context, stacks []stack, apart bool) (time.Duration, error) {
	if err := r.world.Comm().Barrier(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	errs := make([]error, len(stacks))
	passes, err := r.passes(stacks)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	turn := make([]chan struct{}, len(stacks)+1) // closed when the stack may begin
	for i := range turn {
		if turn[i] = make(chan struct{}); i == 0 || !apart {
			close(turn[i])
		}
	}
	for i, l := range stacks {
		next := func() {}
		if apart {
			next = sync.OnceFunc(func() { close(turn[i+1]) })
		}
		wg.Go(func() {
			<-turn[i]
			errs[i] = r.runThrough(ctx, l, passes[i], next)
			next() // where it failed before
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return took, stacks[0].layer.Step(ctx, still{})
}

// stack is what micro-batches go through: a layer, and before it the dense layer, if there is one.
type stack struct {
	layer *switchyard.Layer
	dense expert.Group
}

// pass is what a micro-batch goes through: the layer itself, or a pass of it.
type pass interface {
	Forward(ctx context.Context, x blas32.General) (blas32.General, error)
	Backward(ctx context.Context, dy blas32.General) (blas32.General, error)
}

// numbered is a pass of a layer, which it releases once it has gone back.
type numbered struct{ *switchyard.Pass }

func (n numbered) Forward(ctx context.Context, x blas32.General) (blas32.General, error) {
	return n.Pass.Forward(ctx, x, router.Batch{})
}

// passes makes those of a step, for each stack.
func (r *runner) passes(stacks []stack) ([][]pass, error) {
	list := make([][]pass, len(stacks))
	for range r.Micro / len(stacks) {
		for i, on := range stacks {
			if len(stacks) == 1 {
				list[i] = append(list[i], on.layer)
				continue
			}
			p, err := on.layer.NewPass()
			if err != nil {
				return nil, err
			}
			list[i] = append(list[i], numbered{p})
		}
	}
	return list, nil
}

// runThrough takes micro-batches through a stack, and calls wentForward in the middle of each.
func (r *runner) runThrough(ctx context.Context, l stack, passes []pass, wentForward func()) error {
	for _, p := range passes {
		var saved expert.Saved
		r.compute(l, func() { _, saved = l.dense.Forward(r.x, expert.Rows{Experts: 1, Leaves: 1, Ends: []int{r.tokens}}) })
		if _, err := p.Forward(ctx, r.x); err != nil {
			return err
		}
		wentForward()
		dx, err := p.Backward(ctx, r.dy)
		if err != nil {
			return err
		}
		r.compute(l, func() {
			l.dense.Params().Grad.Reset()
			l.dense.Backward(saved, dx)
		})
		if n, ok := p.(numbered); ok {
			if err := n.Release(); err != nil {
				return err
			}
		}
	}
	return nil
}

// compute runs what concerns the dense layer, if there is one.
func (r *runner) compute(l stack, do func()) {
	if l.dense != nil {
		r.world.Compute(do)
	}
}

// still is an optimizer that changes nothing.
type still struct{}

func (still) Update(*param.Set, []float32) {}

// timed is experts whose time is taken.
type timed struct {
	expert.Expert
	spent time.Duration
	clock *timed // where another's is counted; nil: here
}

// String is the same on all ranks.
func (*timed) String() string { return "timed" }

func (t *timed) New(s expert.Shape) (expert.Group, error) {
	g, err := t.Expert.New(s)
	if t.clock != nil {
		t = t.clock
	}
	return &timedGroup{g, t}, err
}

type timedGroup struct {
	expert.Group
	clock *timed
}

func (g *timedGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	defer g.stop(time.Now())
	return g.Group.Forward(x, rows)
}

func (g *timedGroup) Backward(saved expert.Saved, dy blas32.General) blas32.General {
	defer g.stop(time.Now())
	return g.Group.Backward(saved, dy)
}

func (g *timedGroup) stop(begin time.Time) { g.clock.spent += time.Since(begin) }

// writeTraceOf writes the ranks' last passes in most chunks. They share a machine, and so a clock.
func writeTraceOf(name string, reports []overlapReport) error {
	var tracks []trace.Track
	for _, r := range reports {
		for _, l := range r.Lines {
			tracks = append(tracks, trace.Track{Rank: r.Rank, Line: schedule.Timeline{Graph: &schedule.Graph{Tasks: l.Tasks}, Begin: l.Begin, Spans: l.Spans}})
		}
	}
	return outfile.Write(name, func(w io.Writer) error { return trace.WriteJSON(w, tracks) })
}
