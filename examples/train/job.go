package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/examples/internal/gpt"
	"github.com/switchyard-moe/switchyard/transport"
)

// partBatches is the number of held-out batches looked at in the course of training.
const partBatches = 2

// job is one rank's way through the program. Rank 0 prints; elsewhere out is io.Discard.
type job struct {
	*trainer
	out       io.Writer
	view      *progress
	course    *course
	saver     *checkpoint.Saver // nil without -save
	unsaved   error             // why the last save did not begin
	history   history
	result    result
	took      time.Duration // spent in training steps
	steps     []time.Duration
	exchanged time.Duration // of took
}

// runRank trains as one rank of world.
func runRank(ctx context.Context, world *switchyard.World, o options, screen screen) error {
	text, source, err := o.shared.load(ctx, o.text, o.seed)
	if err != nil {
		return err
	}
	if world.Rank() != 0 {
		screen = quiet
	}
	if world.Rank() == 0 { // who writes them
		if err := o.outputs(); err != nil {
			return err
		}
	}
	t, err := newTrainer(ctx, world, o, text)
	if err != nil {
		return err
	}
	j := &job{trainer: t, out: screen.out, view: newProgress(screen, o.last()), course: newCourse(o.steps)}
	j.introduce(source, len(text))
	err = j.run(ctx)
	closed := j.closeSaver()
	if err != nil && !errors.Is(closed, checkpoint.ErrWrite) {
		return err // of which the other follows
	}
	return errors.Join(err, closed)
}

// run goes on where a checkpoint ends, trains, and tells of the result.
func (j *job) run(ctx context.Context) error {
	if err := j.openSaver(); err != nil {
		return err
	}
	if err := j.resume(ctx); err != nil {
		return err
	}
	err := j.train(ctx)
	j.view.end()
	if err != nil {
		return err
	}
	j.traced.over = true
	if err := j.finish(ctx); err != nil {
		return err
	}
	return errors.Join(j.save(), j.saveTrace(ctx), j.saveRecord())
}

// introduce says what is about to happen.
func (j *job) introduce(source string, bytes int) {
	o, dense := j.options, 0
	for _, set := range j.dense {
		dense += len(set.Value)
	}
	fmt.Fprintf(j.out, "text: %s, %d bytes, the last tenth held out\n", source, bytes)
	fmt.Fprintf(j.out, "model: %d blocks of width %d, %d dense parameters, %d layers of %d experts of which a byte takes %d\n",
		o.layers, o.dim, dense, len(j.layers), o.experts, o.topk)
	fmt.Fprintf(j.out, "ranks: %d over %s (%s)\n\n", j.world.Size(), j.transportName(), j.world.Source())
}

// transportName names what the ranks talk over. A lone rank talks to nobody, over whatever was
// asked for.
func (j *job) transportName() string {
	name := transport.CapabilitiesOf(j.world.Transport()).Name
	if name == "" || j.world.Size() == 1 {
		return j.options.transport
	}
	return name
}

// exchanging is how long all layers have exchanged rows so far.
func (j *job) exchanging() (all time.Duration) {
	for _, l := range j.layers {
		all += l.Stats().Exchanging
	}
	return all
}

// last is the number of steps that training ends after.
func (o options) last() int {
	if o.stopAfter > 0 {
		return o.stopAfter
	}
	return o.steps
}

// train runs all steps that are left.
func (j *job) train(ctx context.Context) error {
	defer j.sumUp()
	for n := j.course.done; n < j.options.last(); n++ {
		start, before := time.Now(), j.exchanging()
		r, err := j.step(ctx, n)
		if err != nil {
			return fmt.Errorf("step %d: %w", n+1, err)
		}
		row := j.course.row(n)
		row[lossColumn], row[wireColumn], row[droppedColumn] = r.loss, float64(r.wire), float64(r.dropped)
		row[secondsColumn], row[exchangeColumn] = time.Since(start).Seconds(), (j.exchanging() - before).Seconds()
		j.course.done = n + 1
		j.dropped = added(j.dropped, r.droppedOf)
		j.note(n)
		j.view.show(n+1, r, j.result.TokensPerSecond)
		if err := j.glance(ctx, n); err != nil {
			return fmt.Errorf("evaluation after step %d: %w", n+1, err)
		}
		if err := j.keep(ctx, r.asked); err != nil {
			return err
		}
	}
	return nil
}

// sumUp notes how long a step took.
func (j *job) sumUp() {
	slices.Sort(j.steps)
	if n := len(j.steps); n > 0 {
		j.result.StepMS = j.steps[n/2].Seconds() * 1e3
		j.result.ExchangeShare = j.exchanged.Seconds() / j.took.Seconds()
		j.result.SumBytes = j.summed / uint64(max(j.course.done-j.view.first, 1))
	}
}

// glance looks at part of the held-out text after step n, if it is time.
func (j *job) glance(ctx context.Context, n int) error {
	if every := j.options.evalEvery; every == 0 || (n+1)%every != 0 || n+1 == j.options.steps {
		return nil
	}
	part, err := j.evaluate(ctx, min(partBatches, j.data.evalBatches()))
	if err != nil {
		return err
	}
	j.course.row(n)[heldColumn] = part.loss
	j.look(n+1, part.loss)
	return nil
}

// look keeps what a look at the held-out text has shown, instead of an earlier one after the same
// step.
func (j *job) look(step int, loss float64) {
	if n := len(j.result.Course); n > 0 && j.result.Course[n-1].Step == step {
		j.result.Course, j.history.held = j.result.Course[:n-1], j.history.held[:n-1]
	}
	j.history.addHeld(step, loss)
	j.result.Course = append(j.result.Course, look{step, j.took.Seconds(), j.result.WireBytes, loss})
}

// note keeps what step n was like.
func (j *job) note(n int) {
	row := j.course.row(n)
	if n == 0 {
		j.result.LossFirst = row[lossColumn]
	}
	j.result.LossLast, j.result.WireBytes = row[lossColumn], uint64(row[wireColumn])
	j.result.DroppedTokens += int(row[droppedColumn])
	j.took += seconds(row[secondsColumn])
	j.steps = append(j.steps, seconds(row[secondsColumn]))
	j.exchanged += seconds(row[exchangeColumn])
	j.result.TokensPerSecond = float64((n+1)*j.options.batch*j.options.seq) / j.took.Seconds()
	j.history.addTrain(n+1, row[lossColumn])
}

// finish measures the trained model on all ranks and has rank 0 tell of it.
func (j *job) finish(ctx context.Context) error {
	o := j.options
	held, err := j.evaluate(ctx, j.data.evalBatches())
	if err != nil {
		return fmt.Errorf("evaluation: %w", err)
	}
	trained := held
	if o.lossy() {
		if trained, err = j.evaluateTrained(ctx, j.data.evalBatches()); err != nil {
			return fmt.Errorf("evaluation as trained: %w", err)
		}
	}
	j.look(j.course.done, held.loss)
	text, err := j.sampled(ctx)
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	sum, err := j.digest(ctx)
	if err != nil {
		return fmt.Errorf("digest of the parameters: %w", err)
	}
	if j.world.Rank() != 0 {
		return nil
	}
	j.result.Ranks, j.result.Transport = j.world.Size(), j.transportName()
	j.result.Steps, j.result.Seed = j.course.done, o.seed
	j.result.ValLoss, j.result.ValLossTrained = held.loss, trained.loss
	if o.objective == nextObjective {
		j.result.BigramValLoss = newBigram(j.data.train).heldOutLoss(j.data)
	}
	j.result.ParamSHA256 = sum
	if j.result.Parameters, j.result.MomentBytes, err = j.kept(); err != nil {
		return fmt.Errorf("state of the optimizer: %w", err)
	}
	j.result.Router, j.result.LooksAhead, j.result.ExpertLoad = o.router, looksAhead(o.buildRouter()), j.byLayer(held.load)
	j.tell(held, text)
	return nil
}

// byLayer is a load without the experts that a layer does not have.
func (j *job) byLayer(load [][]int) [][]int {
	for i := range load {
		load[i] = load[i][:j.options.layerExperts(2*i+1)]
	}
	return load
}

// sampled lets the model continue the held-out text's prompt, if it is one that continues text.
func (j *job) sampled(ctx context.Context) ([]byte, error) {
	o := j.options
	if o.objective == maskedObjective {
		return nil, nil
	}
	how := gpt.Sampling{Temperature: o.temperature, TopP: o.topP, Seed: o.seed}
	return j.model.Sample(ctx, j.data.prompt(), o.sample, how, j.world.Rank() == 0)
}

// save has rank 0 write the files that were asked for: the results first, and then the picture,
// without which they stand.
func (j *job) save() error {
	o := j.options
	if j.world.Rank() != 0 {
		return nil
	}
	var wrong error
	if o.json != "" {
		wrong = j.result.write(o.json)
		j.written("results", o.json, wrong)
	}
	if o.svg != "" {
		j.history.bigram = j.result.BigramValLoss
		err := j.history.draw(o.svg)
		j.written("loss curve", o.svg, err)
		wrong = errors.Join(wrong, err)
	}
	return wrong
}

// saveTrace has rank 0 write the trace, if one was asked for, of what all ranks tell it.
func (j *job) saveTrace(ctx context.Context) error {
	path := j.options.trace
	if path == "" {
		return nil
	}
	if j.view.first >= j.options.last() {
		fmt.Fprintln(j.out, "no trace, as no step was left to take")
		return nil
	}
	err := j.writeTrace(ctx, path)
	j.written("trace of the last step", path, err)
	if err != nil {
		return fmt.Errorf("the trace of the last step: %w", err)
	}
	return nil
}

// written says where a file is, if it is there.
func (j *job) written(what, path string, err error) {
	if err == nil {
		fmt.Fprintf(j.out, "%s: %s\n", what, path)
	}
}
