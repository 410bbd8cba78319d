package checkpoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/expert"
)

// TestMomentsInFewerBits: a checkpoint goes into moments of the form that it has, on another number
// of ranks too; into others it does not go, and the error names them. Once loaded they may be
// changed to another form.
func TestMomentsInFewerBits(t *testing.T) {
	dir := t.TempDir()
	of := func(w *switchyard.World, m expert.Moments, do func(*switchyard.Layer, *expert.Adam, checkpoint.Part) error) error {
		cfg := compressing()
		cfg.Compression = switchyard.Compression{}
		l, err := switchyard.NewLayer(w, cfg)
		if err != nil {
			return err
		}
		adam := expert.NewAdam(0.1)
		adam.Moments = m
		if m == expert.Int4Moments { // which alone is saved
			if err := trainStep(t.Context(), l, adam, 0); err != nil {
				return err
			}
		}
		state, err := l.State(adam)
		if err != nil {
			return err
		}
		return do(l, adam, checkpoint.Part{Name: "moe", State: state})
	}
	requireNone(t, onRanks(t, 2, func(w *switchyard.World, _ int) error {
		return of(w, expert.Int4Moments, func(_ *switchyard.Layer, _ *expert.Adam, part checkpoint.Part) error {
			s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
			if err != nil {
				return err
			}
			if err := s.Save(t.Context(), 1, part); err != nil {
				return err
			}
			return s.Close()
		})
	}))
	for m, name := range map[expert.Moments]string{expert.Float32Moments: "v", expert.FP8Moments: "v.fp8"} {
		for _, err := range onRanks(t, 1, func(w *switchyard.World, _ int) error {
			return of(w, m, func(_ *switchyard.Layer, _ *expert.Adam, part checkpoint.Part) error {
				_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, part)
				return err
			})
		}) {
			require.ErrorContains(t, err, "nothing is loaded")
			require.ErrorContains(t, err, `tensor "moe.optimizer.experts.0.w_down.`+name+`" is missing`)
		}
	}
	requireNone(t, onRanks(t, 3, func(w *switchyard.World, _ int) error {
		return of(w, expert.Int4Moments, func(l *switchyard.Layer, adam *expert.Adam, part checkpoint.Part) error {
			if _, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, part); err != nil {
				return err
			}
			adam.Moments = expert.Float32Moments
			return trainStep(t.Context(), l, adam, 1)
		})
	}))
}
