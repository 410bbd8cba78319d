package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/switchyard-moe/switchyard/checkpoint"
)

// parts is all that changes in training: parameters, what the optimizer keeps for them, counters,
// and the job's own progress. Batches follow from the seed and the number of steps.
func (j *job) parts() ([]checkpoint.Part, error) {
	dense, err := j.own.State(j.optim.Validator)
	if err != nil {
		return nil, err
	}
	list := []checkpoint.Part{{State: dense}}
	for i, layer := range j.layers {
		state, err := layer.State(j.optim.Validator)
		if err != nil {
			return nil, fmt.Errorf("layer of block %d: %w", 2*i+1, err)
		}
		list = append(list, checkpoint.Part{Name: fmt.Sprintf("block%d.moe", 2*i+1), State: state})
	}
	progress, err := j.randoms.state(int(j.world.Rank()), j.world.Size())
	if err != nil {
		return nil, err
	}
	if j.world.Rank() == 0 {
		progress.Entries = append(progress.Entries, j.course.entry())
	}
	return append(list, checkpoint.Part{Name: "progress", State: progress}), nil
}

// resume loads the latest checkpoint of -resume, if there is one, or else the parameters of -init.
func (j *job) resume(ctx context.Context) error {
	dir := j.options.resume
	if dir == "" {
		return j.initialise(ctx)
	}
	parts, err := j.parts()
	if err != nil {
		return err
	}
	info, err := checkpoint.Load(ctx, j.world, dir, checkpoint.Options{Local: j.options.saveLocal, Check: j.fits}, parts...)
	if errors.Is(err, checkpoint.ErrNone) {
		fmt.Fprintf(j.out, "no checkpoint in %s: training starts from the beginning\n\n", dir)
		return j.initialise(ctx)
	}
	if err != nil {
		return fmt.Errorf("-resume %s: %w", dir, err)
	}
	j.course.done = info.Step
	for _, l := range j.informed {
		l.next = info.Step % l.gates
	}
	if j.world.Rank() == 0 {
		j.replay()
		j.wire = j.result.WireBytes // of all ranks
	}
	j.view.first = info.Step
	fmt.Fprintf(j.out, "resumed after step %d from %s, saved by %d ranks\n\n", info.Step, info.Path, info.Ranks)
	return nil
}

// openSaver makes what saves, where that is asked for.
func (j *job) openSaver() (err error) {
	o := j.options
	if o.save == "" {
		return nil
	}
	j.saver, err = checkpoint.NewSaver(j.world, checkpoint.Config{
		Dir: o.save, Local: o.saveLocal, Keep: o.keep, BytesPerSecond: int64(o.saveLimit) * 1e6, Metadata: j.settled(),
	})
	return err
}

// errSaved ends a job that has saved because a signal asked it to.
var errSaved = errors.New("asked to end, and saved")

// keep saves after a step if it is time, or if the job has been asked to end, which it then does. A
// save that fails is told, and training goes on.
func (j *job) keep(ctx context.Context, asked bool) error {
	o, step := j.options, j.course.done
	if j.saver == nil {
		return nil
	}
	if asked {
		if err := j.unlimit(); err != nil {
			return err
		}
	}
	if err := j.saver.Err(); err != nil {
		j.tellUnsaved(err)
	}
	if asked || step == o.last() || o.saveEvery > 0 && step%o.saveEvery == 0 {
		if err := j.saveStep(ctx, step); err != nil {
			return err
		}
	}
	if !asked {
		return nil
	}
	if err := j.closeSaver(); err != nil {
		return err
	}
	j.view.end()
	fmt.Fprintf(j.out, "asked to end: saved after step %d in %s; -resume %[2]s goes on\n", step, o.save)
	return errSaved
}

// unlimit ends the limit of -save-limit for what is being written and for what follows: who has
// asked the job to end does not wait long.
func (j *job) unlimit() error {
	if j.options.saveLimit == 0 {
		return nil
	}
	if err := j.closeSaver(); err != nil {
		j.tellUnsaved(err)
	}
	j.options.saveLimit = 0
	return j.openSaver()
}

// saveStep begins to save.
func (j *job) saveStep(ctx context.Context, step int) error {
	parts, err := j.parts()
	if err != nil {
		return err
	}
	err = j.saver.Save(ctx, step, parts...)
	if err != nil && ctx.Err() != nil {
		return err
	}
	j.unsaved = nil
	if err != nil {
		j.tellUnsaved(err)
	}
	if err != nil && !errors.Is(err, checkpoint.ErrWrite) {
		j.unsaved = err // nothing is being written
	}
	return nil
}

// tellUnsaved tells of a failed save.
func (j *job) tellUnsaved(err error) {
	j.view.end()
	fmt.Fprintf(j.out, "not saved: %v\n", err)
}

// closeSaver waits until all is saved. The error is that of the last save.
func (j *job) closeSaver() error {
	if j.saver == nil {
		return nil
	}
	unsaved := j.unsaved
	j.unsaved = nil
	return errors.Join(unsaved, j.saver.Close())
}

// checkSave makes the folder of -save. One that has checkpoints is for the run that goes on with
// them.
func (o *options) checkSave() error {
	if o.save == "" {
		return nil
	}
	if err := os.MkdirAll(o.save, 0o777); err != nil {
		return fmt.Errorf("-save: %w", err)
	}
	if sameFolder(o.resume, o.save) {
		return nil
	}
	last, err := checkpoint.Latest(o.save)
	if errors.Is(err, checkpoint.ErrNone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("-save: %w", err)
	}
	return fmt.Errorf("-save %s: it has a checkpoint, %s: -resume %[1]s goes on with it, and another run needs another folder", o.save, filepath.Base(last.Path))
}

// sameFolder tells whether two paths name one folder.
func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
