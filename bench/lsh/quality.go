package lsh

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// outcome is how a variant's training with one seed ended: the held-out losses of the model and of
// passes as in training, the loss of the checkpoint that it has started from, 0 without one, and
// the bytes of its rows over those of float32.
type outcome struct{ loss, trained, start, bytes float64 }

// trainsForQuality tells whether a variant has losses of its own.
func trainsForQuality(v variant) bool {
	return lossesOf(v.name) == v.name && v.name != torchModelName
}

// quality trains every variant with each seed and has m keep the outcomes. Where one fails, those
// before are kept. The seeds are the outer loop, so that what is cut off has whole seeds.
func (t *trainings) quality(ctx context.Context, m *measured) error {
	if t.cache != "" {
		if err := os.MkdirAll(t.cache, 0o777); err != nil {
			return fmt.Errorf("-cache: %w", err)
		}
	}
	for seed := t.firstSeed; seed < t.firstSeed+t.seeds; seed++ {
		for _, v := range t.variants {
			if !trainsForQuality(v) {
				continue
			}
			t.pace.Next("%s, seed %d", v.name, seed)
			out, err := t.outcome(ctx, v, seed)
			if err != nil {
				return fmt.Errorf("%s, seed %d: %w", v.name, seed, err)
			}
			fmt.Fprintf(t.pace.To, "bench: %s, seed %d: held-out loss %.4f, as trained %.4f\n", v.name, seed, out.loss, out.trained)
			out.bytes = v.bytesRatio(t.width())
			m.keep(t.group(), v.name, seed, out)
			if err := harness.WriteJSONLines(t.jsonFile, m.rows()); err != nil {
				return err
			}
		}
	}
	return nil
}

// outcome trains a variant with one seed.
func (t *trainings) outcome(ctx context.Context, v variant, seed int) (out outcome, err error) {
	var run lshRun
	steps := int(float64(t.steps)*v.times + 0.5)
	switch {
	case t.groupRows == 0:
		flags := append([]string{"-transport", "inproc", "-ranks", "4"}, t.flags(v, t.qualityBatch, steps, seed)...)
		run, _, err = t.train(ctx, t.withText(flags), "", false)
	case t.baseSteps == 0:
		run, _, err = t.train(ctx, t.groupFlags(v, t.scratch(steps), seed), "", false)
	default:
		return t.tuned(ctx, v, steps, seed)
	}
	return outcome{loss: run.ValLoss, trained: run.ValLossTrained}, err
}

// tuned trains a variant from the checkpoint of a seed. Without experts there are none in that
// either, and its loss says nothing of the others.
func (t *trainings) tuned(ctx context.Context, v variant, steps, seed int) (out outcome, err error) {
	before := variant{}
	if v.name == noExpertsName {
		before = v
	}
	_, from, err := t.train(ctx, t.groupFlags(before, t.base(), seed), "", true)
	if err != nil {
		return out, fmt.Errorf("checkpoint: %w", err)
	}
	if v.name != noExpertsName {
		start, _, err := t.train(ctx, t.groupFlags(before, t.standing(), seed), from, false)
		if err != nil {
			return out, fmt.Errorf("loss of the checkpoint: %w", err)
		}
		out.start = start.ValLoss
	}
	run, _, err := t.train(ctx, t.groupFlags(v, t.tuning(steps), seed), from, false)
	if err != nil {
		return out, err
	}
	if run.ValLoss == 0 {
		return out, errors.New("the program has told no loss")
	}
	out.loss, out.trained = run.ValLoss, run.ValLossTrained
	return out, nil
}
