package router

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/param"
)

// Modality has experts for each kind of token, for example text and images, and lets them choose
// among the tokens of their kind: a token's modality, given in [Batch.Modality], decides the
// experts that it may go to, and each of those takes ⌊n·c/E⌋ of the n tokens of that modality, c
// the capacity factor, E the modality's experts. A token's weight for an expert is the sigmoid of
// its logit, so that it depends on no other token. (MoMa: Lin et al. 2024, arXiv 2407.21770.)
//
// Like [ExpertChoice] it sees the future, and its Over and what it sends to other ranks are the
// same. Aux trains additional routers that do not.
type Modality struct {
	// Groups lists the modalities; those of tokens count from 0 in this order. The experts of the
	// first one come first, then those of the second, and so on: together they must be the layer's
	// experts.
	Groups []ModalityGroup
	// CapacityFactor is the mean number of experts that take a token; 0 stands for 1, the cost of
	// one dense expert.
	CapacityFactor float64
	// Over says among which tokens an expert chooses.
	Over Scope
	// Aux adds auxiliary routers, one for each modality, that guess from a token alone which
	// experts would take it: sigmoid(SiLU(x·A)·B), A Dim × max(Dim/2, 1), B that × the modality's
	// experts. They are trained by the loss "auxiliary": binary cross-entropy against the true
	// choices, the mean over a group's tokens and their modality's experts. In evaluation they
	// decide alone: an expert takes the tokens for which the guess is above 1/2, as many as these
	// are, and the main router gives the weight. So evaluation is causal, needs no other rank, and
	// its loads are not equal.
	//
	// The loss reaches their own parameters alone, not the tokens: the main model trains as if they
	// were not there. The paper trains them afterwards; so does this, if all other parameters are
	// then left as they are.
	Aux bool
	// AuxCoefficient multiplies the auxiliary loss; 0 stands for 1.
	AuxCoefficient float64
}

// ModalityGroup is one modality and its experts.
type ModalityGroup struct {
	// Name is part of the names of parameters: "gate_text" of "text".
	Name string
	// Experts is the number of experts that take its tokens.
	Experts int
}

var _ Router = Modality{}

// Causal returns false: training, at least, looks at later tokens.
func (r Modality) Causal() bool { return false }

// New is described at [Router]. The parameters are a tensor "gate_name" for each modality, Dim ×
// its experts; and with Aux another two, "aux_in_name" and "aux_out_name".
func (r Modality) New(s Shape) (Gate, error) {
	if err := errors.Join(append(checkShape(s), r.faults(s)...)...); err != nil {
		return nil, err
	}
	g := &expertChoice{
		set:     param.NewSet(r.tensors(s)...),
		classes: len(r.Groups),
		sigmoid: true,
		over:    r.Over,
		quota:   r.quota,
		dim:     s.Dim, experts: s.Experts,
	}
	for i, m := range r.Groups {
		g.names = append(g.names, m.Name)
		g.columns = append(g.columns, columns{len(g.class), m.Experts})
		for range m.Experts {
			g.class = append(g.class, int32(i))
		}
		drawUniform(g.set, i, s.Dim, s.Seed, 0x3a00+uint64(i))
	}
	if r.Aux {
		g.aux = newAuxiliary(g, s, orDefault(r.AuxCoefficient, 1))
	}
	return g.asGate(), nil
}

// quota returns how many of a modality's tokens each of its experts takes.
func (r Modality) quota(modality int, tokens int64) int64 {
	k := math.Floor(float64(tokens) * orDefault(r.CapacityFactor, 1) / float64(r.Groups[modality].Experts))
	return int64(min(k, float64(tokens)))
}

// tensors lists the parameters: the gates, then the auxiliary routers' first matrices, then their
// second.
func (r Modality) tensors(s Shape) []param.Tensor {
	var list []param.Tensor
	add := func(prefix string, rows int, cols func(m ModalityGroup) int) {
		for _, m := range r.Groups {
			list = append(list, param.Tensor{Name: prefix + m.Name, Shape: []int{rows, cols(m)}})
		}
	}
	experts := func(m ModalityGroup) int { return m.Experts }
	add("gate_", s.Dim, experts)
	if r.Aux {
		hidden := auxHidden(s.Dim)
		add("aux_in_", s.Dim, func(ModalityGroup) int { return hidden })
		add("aux_out_", hidden, experts)
	}
	return list
}

// faults returns all that is wrong with r for a gate of shape s.
func (r Modality) faults(s Shape) []error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("router: Modality: "+format, args...))
		}
	}
	total, seen := 0, map[string]bool{}
	for i, m := range r.Groups {
		fault(m.Name == "" || seen[m.Name], "modality %d has the name %q, want one of its own", i, m.Name)
		fault(m.Experts < 1 || m.Experts > s.Experts, "modality %q has %d experts, want 1 to the %d of the layer", m.Name, m.Experts, s.Experts)
		seen[m.Name] = true
		total += m.Experts
	}
	fault(total != s.Experts, "the modalities have %d experts, the layer %d", total, s.Experts)
	factor := orDefault(r.CapacityFactor, 1)
	fault(!(factor > 0) || math.IsInf(factor, 1), "capacity factor is %v, want a finite number above 0", r.CapacityFactor)
	fault(r.Over < 0 || int(r.Over) >= scopes, "unknown scope %d", int(r.Over))
	fault(!(r.AuxCoefficient >= 0 && r.AuxCoefficient <= maxCoefficient), "AuxCoefficient is %v, want 0 to %v", r.AuxCoefficient, maxCoefficient)
	fault(r.AuxCoefficient > 0 && !r.Aux, "AuxCoefficient goes with Aux")
	return faults
}
