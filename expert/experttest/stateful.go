package experttest

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

// stateful returns an optimizer whose state can be saved. It ends the test if kind makes others.
func stateful(t *testing.T, kind func() expert.Optimizer) expert.Stateful {
	o, ok := kind().(expert.Stateful)
	if !ok {
		t.Skip("it has no state that can be saved")
	}
	return o
}

// sameBits compares bits, so that a NaN is like itself.
func sameBits(t *testing.T, want, got []float32, text string) {
	t.Helper()
	require.Len(t, got, len(want), text)
	for i := range want {
		require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "%s, element %d: %v and %v",
			text, i, want[i], got[i])
	}
}

// stateForm: names are unique and stay; vectors have the set's length and memory of their own,
// which is the optimizer's.
func stateForm(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(9, 13, 2)
	o := stateful(t, kind)
	first := o.State(p)
	names := stateNames(t, first)
	for _, g := range grads {
		o.Update(p, g)
		require.Equal(t, names, stateNames(t, o.State(p)), "names after an update")
	}
	require.Equal(t, names, stateNames(t, stateful(t, kind).State(p)), "names of another optimizer")
	none, _ := parameters(10, 0, 0)
	require.Equal(t, names, stateNames(t, o.State(none)), "names of a set without elements")

	a, b := o.State(p), o.State(p)
	memory := map[any]string{&p.Value[0]: "Value"}
	for i, m := range a.Moments {
		first := momentForm(t, p, m)
		require.Same(t, first, momentForm(t, p, b.Moments[i]), "%s is not the optimizer's memory", m.Name)
		require.Empty(t, memory[first], "%s has memory of something else", m.Name)
		memory[first] = m.Name
	}
	for i, s := range a.Scalars {
		require.Same(t, s.Value, b.Scalars[i].Value, "%s is not the optimizer's memory", s.Name)
	}
}

// momentForm checks the length of a moment of a set of one tensor, and returns the address of its
// first number or byte.
func momentForm(t *testing.T, p *param.Set, m expert.Moment) any {
	if m.Size == nil {
		require.Len(t, m.Data, len(p.Value), m.Name)
		require.Empty(t, m.Codes, "%s has numbers and codes", m.Name)
		return &m.Data[0]
	}
	require.Len(t, m.Codes, m.Size(len(p.Value)), m.Name)
	require.Empty(t, m.Data, "%s has codes and numbers", m.Name)
	return &m.Codes[0]
}

// stateNames returns the names in order, of which none may be empty or come twice.
func stateNames(t *testing.T, s expert.State) []string {
	names := []string{}
	for _, m := range s.Moments {
		names = append(names, m.Name)
	}
	for _, one := range s.Scalars {
		names = append(names, one.Name)
	}
	require.NotContains(t, names, "")
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), len(names), "a name comes twice: %q", names)
	return names
}

// stateBeforeUpdates: a state that was asked for too early changes nothing, nor does one that was
// asked for in between.
func stateBeforeUpdates(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(11, 40, 4)
	q, _ := parameters(11, 40, 4)
	asked, other := stateful(t, kind), kind()
	for _, g := range grads {
		asked.State(p)
		asked.Update(p, g)
		other.Update(q, g)
		sameBits(t, q.Value, p.Value, "values")
	}
}

// stateHeld: an update makes state, and so does State, but not Holds, and for the one set alone.
func stateHeld(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(15, 6, 1)
	q, _ := parameters(15, 6, 0)
	none, _ := parameters(15, 0, 0)
	updated, asked := stateful(t, kind), stateful(t, kind)
	for range 2 {
		require.False(t, updated.Holds(p), "before all updates")
		require.False(t, asked.Holds(p), "before all updates")
	}
	updated.Update(p, grads[0])
	updated.Update(none, nil)
	keeps := len(stateNames(t, asked.State(p))) > 0
	for _, o := range []expert.Stateful{updated, asked} {
		require.Equal(t, keeps, o.Holds(p))
		require.False(t, o.Holds(q), "of another set")
	}
	require.Equal(t, keeps, updated.Holds(none), "of a set without elements")
}

// saved is a copy of an optimizer's state.
type saved struct {
	moments [][]float32
	codes   [][]byte
	scalars []float64
}

func save(s expert.State) saved {
	var of saved
	for _, m := range s.Moments {
		of.moments = append(of.moments, slices.Clone(m.Data))
		of.codes = append(of.codes, slices.Clone(m.Codes))
	}
	for _, one := range s.Scalars {
		of.scalars = append(of.scalars, *one.Value)
	}
	return of
}

func (of saved) load(s expert.State) {
	for i, m := range s.Moments {
		copy(m.Data, of.moments[i])
		copy(m.Codes, of.codes[i])
	}
	for i, one := range s.Scalars {
		*one.Value = of.scalars[i]
	}
}

// stateLoaded saves after some updates, loads into a new optimizer and into one that has made other
// updates, and goes on with both beside the first. Gradients that are no numbers are among them.
func stateLoaded(t *testing.T, kind func() expert.Optimizer) {
	for _, updates := range []int{0, 1, 3} {
		straight, grads := parameters(12, 24, 6)
		grads[0][5], grads[2][7] = float32(math.NaN()), float32(math.Inf(1))
		first, fresh, used := stateful(t, kind), stateful(t, kind), stateful(t, kind)
		for _, g := range grads[:updates] {
			first.Update(straight, g)
		}
		ofFresh, ofUsed := param.NewSet(straight.Tensors()...), param.NewSet(straight.Tensors()...)
		used.Update(ofUsed, grads[5])
		state := save(first.State(straight))
		for o, p := range map[expert.Stateful]*param.Set{fresh: ofFresh, used: ofUsed} {
			copy(p.Value, straight.Value)
			state.load(o.State(p))
		}
		for _, g := range grads[updates:] {
			first.Update(straight, g)
			fresh.Update(ofFresh, g)
			used.Update(ofUsed, g)
			sameBits(t, straight.Value, ofFresh.Value, "loaded into a new optimizer")
			sameBits(t, straight.Value, ofUsed.Value, "loaded into a used optimizer")
		}
	}
}

// stateApart writes into the state of one set: another one goes on as if it were alone.
func stateApart(t *testing.T, kind func() expert.Optimizer) {
	a, gradsA := parameters(13, 20, 3)
	b, gradsB := parameters(14, 20, 3)
	alone, _ := parameters(14, 20, 3)
	both, one := stateful(t, kind), kind()
	for i := range gradsA {
		both.Update(a, gradsA[i])
		both.Update(b, gradsB[i])
		one.Update(alone, gradsB[i])
		sameBits(t, alone.Value, b.Value, "values of the other set")
		for _, m := range both.State(a).Moments {
			for j := range m.Data {
				m.Data[j] = 0.5
			}
			for j := range m.Codes {
				m.Codes[j] = 1
			}
		}
		for _, s := range both.State(a).Scalars {
			*s.Value /= 2
		}
	}
}
