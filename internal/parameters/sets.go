// Package parameters lists the parameters of a layer by name, as tensors that do not depend on the
// number of ranks: it collects the parts of the ranks, and cuts this rank's part out of a whole
// tensor.
package parameters

import (
	"slices"

	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// Sets are the parameters that a rank holds; a set of which a layer has none is nil.
type Sets struct {
	// Gate, Shared and Gains are those of the gate, of the shared expert and of compression. Every
	// rank holds all of them.
	Gate, Shared, Gains *param.Set
	// Experts are those of each group of the experts hosted here, at least one group.
	Experts []*param.Set
}

// Vectors are laid out as the values of each of Sets.
type Vectors struct {
	Gate, Shared, Gains []float32
	Experts             [][]float32
}

// Values returns the values, which it does not copy.
func (s *Sets) Values() Vectors {
	v := Vectors{Gate: valuesOf(s.Gate), Shared: valuesOf(s.Shared), Gains: valuesOf(s.Gains)}
	for _, set := range s.Experts {
		v.Experts = append(v.Experts, valuesOf(set))
	}
	return v
}

// trained are the sets that are not frozen.
func (s *Sets) trained() Sets {
	of := func(set *param.Set) *param.Set {
		if set == nil || set.Frozen {
			return nil
		}
		return set
	}
	t := Sets{Gate: of(s.Gate), Shared: of(s.Shared), Gains: of(s.Gains)}
	for _, set := range s.Experts {
		t.Experts = append(t.Experts, of(set))
	}
	return t
}

// setKinds tells each set which part of the layer it belongs to.
func (s *Sets) setKinds() {
	setKind(s.Gate, param.Gate)
	setKind(s.Shared, param.Shared)
	setKind(s.Gains, param.Gain)
	for _, set := range s.Experts {
		setKind(set, param.Expert)
	}
}

func setKind(set *param.Set, kind param.Kind) {
	if set != nil {
		set.Kind = kind
	}
}

func valuesOf(set *param.Set) []float32 {
	if set == nil {
		return nil
	}
	return set.Value
}

// KeepGate returns what gives a gate back the bias and the state that it has now.
func KeepGate(gate router.Gate) (giveBack func()) {
	bias, state := slices.Clone(biasOf(gate)), stateOf(gate)
	kept := make([]param.Entry, len(state))
	for i, e := range state {
		kept[i] = e.Clone()
	}
	return func() {
		copy(biasOf(gate), bias)
		for i, e := range stateOf(gate) {
			mustCopy(e, kept[i])
		}
	}
}

// stateOf is what the gate keeps besides.
func stateOf(gate router.Gate) []param.Entry {
	if g, ok := gate.(router.Stateful); ok {
		return g.State()
	}
	return nil
}

// mustCopy copies between two gates of one router, whose states have the same entries.
func mustCopy(to, from param.Entry) {
	if err := to.CopyFrom(from); err != nil {
		panic("switchyard: state of a gate: " + err.Error())
	}
}

// biasOf is the gate's bias, if it balances its load by one. It is the gate's memory.
func biasOf(gate router.Gate) []float32 {
	if g, ok := gate.(router.Balancer); ok {
		return g.Bias()
	}
	return nil
}
