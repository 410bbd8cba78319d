package checkpoint_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// onRanks runs do on each of n ranks in one process, and returns their errors.
func onRanks(t testing.TB, n int, do func(w *switchyard.World, rank int) error) []error {
	t.Helper()
	return switchyardtest.Errors(t, n, func(_ context.Context, w *switchyard.World) error { return do(w, int(w.Rank())) })
}

func requireNone(t *testing.T, errs []error) {
	t.Helper()
	for rank, err := range errs {
		require.NoError(t, err, "rank %d", rank)
	}
}

// model is the whole of a model in plain maps: the reference.
type model struct {
	entries []param.Entry // Data are its own
}

// newModel draws a model: tensors of each type and role, scalars and empty ones among them.
func newModel(seed uint64, tensors int) *model {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &model{}
	for i := range tensors {
		e := param.Entry{Name: fmt.Sprintf("t%d.w", i), Role: param.Role(rng.IntN(2)), Kind: param.Kind(rng.IntN(6))}
		n := 1
		for range rng.IntN(4) {
			d := rng.IntN(6)
			e.Shape, n = append(e.Shape, d), n*d
		}
		switch rng.IntN(4) {
		case 0:
			e.Data = filled(n, func() float32 { return math.Float32frombits(rng.Uint32()) })
		case 1:
			e.Data = filled(n, rng.NormFloat64)
		case 2:
			e.Data = filled(n, func() int64 { return int64(rng.Uint64()) })
		default:
			e.Data = filled(n, func() byte { return byte(rng.Uint32()) })
		}
		m.entries = append(m.entries, e)
	}
	m.entries = append(m.entries, param.Entry{Name: "always", Shape: []int{2}, Data: []float32{1, 2}})
	return m
}

func filled[T any](n int, draw func() T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = draw()
	}
	return list
}

// layout says which ranks hold each tensor; the first of them writes it.
type layout [][]int

func newLayout(seed uint64, m *model, ranks int) layout {
	rng := rand.New(rand.NewPCG(seed, 2))
	l := make(layout, len(m.entries))
	for i := range l {
		l[i] = rng.Perm(ranks)[:1+rng.IntN(ranks)]
	}
	return l
}

// part returns a rank's entries: copies of the model's, or zeros of the same shape.
func (m *model) part(l layout, rank int, zero bool) checkpoint.Part {
	s := &param.State{}
	for i, e := range m.entries {
		for j, holder := range l[i] {
			if holder == rank {
				e.Writer = j == 0
				e.Data = like(e.Data, zero)
				s.Entries = append(s.Entries, e)
			}
		}
	}
	return checkpoint.Part{Name: "m", State: s}
}

// like returns a copy of a slice, or zeros.
func like(data any, zero bool) any {
	v := reflect.ValueOf(data)
	c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	if !zero {
		reflect.Copy(c, v)
	}
	return c.Interface()
}

// requireIn demands that the entries of a part are those of the model, bit for bit.
func (m *model) requireIn(t *testing.T, p checkpoint.Part) {
	t.Helper()
	for _, got := range p.State.Entries {
		for _, want := range m.entries {
			if got.Name == want.Name {
				require.Equal(t, bits(want.Data), bits(got.Data), got.Name)
			}
		}
	}
}

// bits makes numbers that are NaN comparable.
func bits(data any) any {
	switch d := data.(type) {
	case []float32:
		u := make([]uint32, len(d))
		for i, v := range d {
			u[i] = math.Float32bits(v)
		}
		return u
	case []float64:
		u := make([]uint64, len(d))
		for i, v := range d {
			u[i] = math.Float64bits(v)
		}
		return u
	}
	return data
}

// save saves a model once on each step, from the given number of ranks.
func (m *model) save(t *testing.T, cfg checkpoint.Config, ranks int, steps ...int) {
	t.Helper()
	l := newLayout(9, m, ranks)
	requireNone(t, onRanks(t, ranks, func(w *switchyard.World, rank int) error {
		return saveOn(w, cfg, m.part(l, rank, false), steps...)
	}))
}

func saveOn(w *switchyard.World, cfg checkpoint.Config, part checkpoint.Part, steps ...int) error {
	s, err := checkpoint.NewSaver(w, cfg)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := s.Save(context.Background(), step, part); err != nil {
			return err
		}
	}
	return s.Close()
}
