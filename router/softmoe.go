package router

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// SoftMoE sends mixtures of tokens instead of tokens. With logits L = x·φ, a column for each slot,
// slot j of a token group is
//
//	Σ_t D[t, j]·x_t    D the softmax of each column of L, over the group's tokens
//
// and the output of token t is Σ_j C[t, j]·answer_j, with C the softmax of each row of L over all
// slots. Nothing is dropped, every token has an answer, and the load is even. All of it is
// differentiable. (Puigcerver et al. 2024, "From Sparse to Soft Mixtures of Experts", without its
// normalisation of x and φ.)
//
// Each slot depends on all tokens of its group, so it is not causal: a group must not hold tokens
// of which one is to be predicted from another. Every group sends Experts·Slots rows for any number
// of tokens, and takes three products of tokens × Dim × Experts·Slots.
//
// A layer with it has the same bits on any number of ranks if its groups do not depend on the
// ranks: see Config.Group.
type SoftMoE struct {
	// Slots is the number of slots of each expert in each group of tokens; 0 stands for 1, the best
	// in the paper.
	Slots int
}

var _ Router = SoftMoE{}

// Causal returns false: a token's output depends on the tokens after it.
func (r SoftMoE) Causal() bool { return false }

// New is described at [Router]. The parameters are one tensor, "phi", Dim × Experts·Slots, drawn
// uniformly from ±1/√Dim.
func (r SoftMoE) New(s Shape) (Gate, error) {
	faults := checkShape(s)
	if r.Slots < 0 || r.Slots > check.MaxSize {
		faults = append(faults, fmt.Errorf("router: SoftMoE: %d slots, want 0 to %d", r.Slots, check.MaxSize))
	}
	if len(faults) == 0 {
		faults = tooLarge([]int{s.Dim, s.Experts, max(r.Slots, 1)})
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	slots := max(r.Slots, 1)
	set := param.NewSet(param.Tensor{Name: "phi", Shape: []int{s.Dim, s.Experts * slots}})
	drawUniform(set, 0, s.Dim, s.Seed, 0x50f7)
	return &softMoE{set: set, dim: s.Dim, experts: s.Experts, slots: slots}, nil
}

// softMoE is the gate of [SoftMoE].
type softMoE struct {
	set                 *param.Set
	dim, experts, slots int
	free                []*Decision
	dlogits, column     grid
}

// mixed is what the gate remembers of a batch.
type mixed struct {
	owner             *softMoE
	logits            grid
	dispatch, combine grid
	padding           []bool
	clean             grid // a copy of x without padding
	mixture           Mixture
	spent             bool
}

// Slots is described at [Mixer].
func (g *softMoE) Slots() int { return g.slots }

// Params returns φ.
func (g *softMoE) Params() *param.Set { return g.set }

// Route is described at [Gate]. The decision is a [Mixture]; its Counts are slots.
func (g *softMoE) Route(x blas32.General, b Batch) (*Decision, error) {
	checkBatch(x, b.Ends, g.dim)
	checkPadding(x, b)
	d, m := g.take()
	x = withoutPadding(x, b.Padding, &m.clean)
	m.logits.reset(x.Rows, g.experts*g.slots)
	if x.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, x, g.set.Matrix(g.set.Value, 0), 0, m.logits.matrix())
	}
	if err := checkFinite(&m.logits, b.Ends); err != nil {
		g.free = append(g.free, d)
		return nil, err
	}
	m.mix(x.Rows, b)
	d.Mixture = &m.mixture
	g.declare(d, x.Rows, b.Ends)
	return d, nil
}

// take returns a decision and its memory.
func (g *softMoE) take() (*Decision, *mixed) {
	n := len(g.free)
	if n == 0 {
		m := &mixed{owner: g}
		return &Decision{Losses: map[string]float64{}, Saved: m}, m
	}
	d := g.free[n-1]
	g.free = g.free[:n-1]
	m := d.Saved.(*mixed)
	m.spent = false
	return d, m
}

// declare fills what a decision says of itself beside the mixture: an assignment without entries.
func (g *softMoE) declare(d *Decision, tokens int, ends []int) {
	d.Tokens, d.Experts = tokens, g.experts
	d.Ends, d.Counts = mat.Reuse(d.Ends, g.experts), mat.Reuse(d.Counts, g.experts)
	d.GroupLoss = mat.Reuse(d.GroupLoss, len(ends))
	clear(d.Ends)
	clear(d.GroupLoss)
	for e := range d.Counts {
		d.Counts[e] = d.Mixture.groups() * g.slots
	}
}

// mix fills the mixture from the logits.
func (m *mixed) mix(tokens int, b Batch) {
	g := m.owner
	m.padding = append(m.padding[:0], b.Padding...)
	m.dispatch.reset(tokens, g.experts*g.slots)
	m.combine.reset(tokens, g.experts*g.slots)
	m.mixture = Mixture{
		Slots: g.slots, Ends: append(m.mixture.Ends[:0], b.Ends...), Empty: m.mixture.Empty[:0],
		Dispatch: m.dispatch.matrix(), Combine: m.combine.matrix(),
	}
	m.mixture.Dispatch.Rows, m.mixture.Combine.Rows = tokens, tokens
	begin := 0
	for _, end := range b.Ends {
		m.mixture.Empty = append(m.mixture.Empty, !m.mixGroup(begin, end))
		begin = end
	}
}

// mixGroup takes both softmaxes of one token group, and tells whether it has any token.
func (m *mixed) mixGroup(begin, end int) bool {
	any := false
	for t := begin; t < end; t++ {
		if m.padded(t) {
			clear(m.combine.row(t))
			clear(m.dispatch.row(t))
			continue
		}
		any = true
		softmax(m.combine.row(t), m.logits.row(t))
	}
	if any {
		for j := range m.logits.cols {
			m.softmaxOverTokens(j, begin, end)
		}
	}
	return any
}

// softmaxOverTokens fills column j of the dispatch for the token group's real tokens.
func (m *mixed) softmaxOverTokens(j, begin, end int) {
	column := &m.owner.column
	column.reset(1, end-begin)
	line := column.row(0)[:0]
	for t := begin; t < end; t++ {
		if !m.padded(t) {
			line = append(line, m.logits.row(t)[j])
		}
	}
	softmax(line, line)
	for t := begin; t < end; t++ {
		if !m.padded(t) {
			m.dispatch.row(t)[j], line = line[0], line[1:]
		}
	}
}

func (m *mixed) padded(t int) bool { return len(m.padding) != 0 && m.padding[t] }

// Backward is described at [Gate]. The gate uses the decision's memory for a later one. It returns
// no error.
func (g *softMoE) Backward(d *Decision, x blas32.General, grad Gradient) error {
	m, ok := d.Saved.(*mixed)
	switch {
	case !ok || m.owner != g:
		panic("router: backward with a decision of another gate")
	case m.spent:
		panic("router: backward a second time with one decision")
	case len(grad.Weights) != d.NumWeights():
		panic(fmt.Sprintf("router: gradient of %d weights for %d of a mixture", len(grad.Weights), d.NumWeights()))
	}
	d.checkMixed("Backward", grad.Rows, x)
	d.checkMixed("Backward", grad.Rows, grad.DX)
	x = withoutPadding(x, m.padding, &m.clean)
	g.logitGradient(m, x, grad)
	g.project(m, x, grad)
	m.spent = true
	g.free = append(g.free, d)
	return nil
}

// logitGradient fills dlogits: those of the two softmaxes added.
func (g *softMoE) logitGradient(m *mixed, x blas32.General, grad Gradient) {
	g.dlogits.reset(x.Rows, m.logits.cols)
	clear(g.dlogits.data)
	// dD[t, j] = x_t · gradient of slot j
	m.mixture.each(func(p slotBlock) {
		m.mixture.dot(g.dlogits.data, p, mat.Rows(x, p.begin, p.end), mat.Rows(grad.Rows, p.row, p.row+g.slots))
	})
	begin := 0
	for _, end := range m.mixture.Ends {
		for j := range m.logits.cols {
			g.dispatchGradient(m, j, begin, end)
		}
		begin = end
	}
	for t := range x.Rows {
		n := m.logits.cols
		softmaxBackward(g.dlogits.row(t), m.combine.row(t), grad.Weights[t*n:(t+1)*n])
	}
}

// dispatchGradient turns column j of dlogits, for one token group, from the gradient with respect
// to a softmax's result into that with respect to its input. If a token is padding, the result
// is 0 and so is the gradient.
func (g *softMoE) dispatchGradient(m *mixed, j, begin, end int) {
	mean := 0.0
	for t := begin; t < end; t++ {
		mean += float64(m.dispatch.row(t)[j]) * float64(g.dlogits.row(t)[j])
	}
	for t := begin; t < end; t++ {
		d := &g.dlogits.row(t)[j]
		*d = float32(float64(m.dispatch.row(t)[j]) * (float64(*d) - mean))
	}
}

// project takes dlogits back through x·φ.
func (g *softMoE) project(m *mixed, x blas32.General, grad Gradient) {
	dlogits := g.dlogits.matrix()
	leaves(g.set, x, m.mixture.Ends, grad.FirstLeaf, dlogits)
	if x.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, dlogits, g.set.Matrix(g.set.Value, 0), 1, grad.DX)
	}
}

// Clone returns a copy that shares no memory with m.
func (m *Mixture) Clone() *Mixture {
	c := *m
	c.Ends, c.Empty = slices.Clone(m.Ends), slices.Clone(m.Empty)
	c.Dispatch.Data, c.Combine.Data = slices.Clone(m.Dispatch.Data), slices.Clone(m.Combine.Data)
	return &c
}
