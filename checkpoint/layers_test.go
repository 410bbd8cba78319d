package checkpoint_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// compressing is a layer with state of each kind, that of one rank alone among them.
func compressing() switchyard.Config {
	return switchyard.Config{
		Dim: 6, Experts: 5, Group: 2, Seed: 3, Expert: expert.SwiGLU{Hidden: 4}, Shared: expert.FFN{Hidden: 3},
		Router: router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.1},
		Compression: switchyard.Compression{When: switchyard.CompressAlways, LSH: lsh.Config{
			Rate: 0.5, Bucketing: lsh.Controlled, Compensation: lsh.LearnedGain,
		}},
	}
}

// trainStep takes a step of tokens of the rank's own.
func trainStep(ctx context.Context, l *switchyard.Layer, o expert.Optimizer, rank int) error {
	r := rand.New(rand.NewPCG(uint64(rank), 5))
	x := blas32.General{Rows: 12, Cols: 6, Stride: 6, Data: make([]float32, 72)}
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	if _, err := l.Forward(ctx, x); err != nil {
		return err
	}
	if _, err := l.Backward(ctx, x); err != nil {
		return err
	}
	return l.Step(ctx, o)
}

// written collects what a rank writes of a state, by name.
type written struct {
	sync.Mutex
	data map[string]any
}

func (w *written) add(s *param.State) {
	w.Lock()
	defer w.Unlock()
	for _, e := range s.Entries {
		if e.Writer {
			w.data[e.Name] = like(e.Data, false)
		}
	}
}

// differing lists what is not the same in both, what is of one rank alone only if local says so.
func (w *written) differing(other *written, local bool) (names []string) {
	all := maps.Clone(w.data)
	maps.Copy(all, other.data)
	for name := range all {
		if (local || !strings.HasPrefix(name, "compression.depth.")) && !reflect.DeepEqual(w.data[name], other.data[name]) {
			names = append(names, name)
		}
	}
	return names
}

// TestLayersReshard: a layer with frozen experts is saved on three ranks, and loaded on any number
// into one that has not been trained. On three the state of single ranks comes back too.
func TestLayersReshard(t *testing.T) {
	dir := t.TempDir()
	before := written{data: map[string]any{}}
	build := func(w *switchyard.World) (*switchyard.Layer, *expert.Adam, error) {
		l, err := switchyard.NewLayer(w, compressing())
		return l, expert.NewAdam(0.1), err
	}
	requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
		l, o, err := build(w)
		if err != nil {
			return err
		}
		if err := trainStep(t.Context(), l, o, rank); err != nil {
			return err
		}
		if err := l.SetFrozen(t.Context(), param.Expert); err != nil {
			return err
		}
		state, err := l.State(o)
		if err != nil {
			return err
		}
		before.add(state)
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		if err != nil {
			return err
		}
		if err := s.Save(t.Context(), 1, checkpoint.Part{Name: "moe", State: state}); err != nil {
			return err
		}
		return s.Close()
	}))
	for _, ranks := range []int{1, 2, 3, 6} {
		after := written{data: map[string]any{}}
		requireNone(t, onRanks(t, ranks, func(w *switchyard.World, _ int) error {
			l, o, err := build(w)
			if err != nil {
				return err
			}
			if err := l.SetFrozen(t.Context(), param.Expert); err != nil {
				return err
			}
			state, err := l.State(o)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(state.Entries, func(e param.Entry) bool { return strings.HasPrefix(e.Name, "optimizer.experts.") }) {
				return fmt.Errorf("moments of frozen experts were made")
			}
			if _, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, checkpoint.Part{Name: "moe", State: state}); err != nil {
				return err
			}
			if state, err = l.State(o); err != nil {
				return err
			}
			after.add(state)
			return nil
		}))
		require.Empty(t, before.differing(&after, ranks == 3), "%d ranks", ranks)
	}
}
