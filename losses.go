package switchyard

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/router"
)

// stepLosses weighs the auxiliary losses of a step of several backward passes. They are to count as
// if all tokens of the step had come in one pass, each pass by its share of the tokens, padding
// left out. For the gate's parameters that is exact, whatever comes: their gradient from the losses
// is kept apart, as a mean over the tokens of the passes so far. The gradient of the tokens has to
// leave with its pass, so it goes by what is known then: router.Batch.StepTokens, or else
// Config.MicroBatches passes of equal size.
type stepLosses struct {
	// params takes what comes of losses in the gradient of the gate's parameters; nil where the
	// gate does not keep it apart.
	params    *param.Set
	mean      total     // of it, over the tokens of the passes in it
	tokens    int       // of the passes in the mean, over all ranks
	both      []float32 // scratch: the gate's whole gradient
	came      int       // tokens of all passes that have gone back since the last step
	announced int       // how many were announced by each; −1 where passes disagree
	passes    int       // that have gone back since the last step
	counts    []int     // of tokens that chose each expert in them, where a loss is over the step
}

// newStepLosses asks the gate whether it keeps the gradient of losses apart.
func (l *Layer) newStepLosses() {
	if g, ok := l.gate.(router.LossSplitter); ok {
		l.losses.params = g.LossParams()
	}
}

// apart is where the pass's gradient from the losses goes; nil where it stays with that of the
// weights, whose scale is then final.
func (l *Layer) apart(p *pass) *param.Set {
	if p.Info.StepTokens > 0 {
		return nil
	}
	return l.losses.params
}

// batches is how many passes of equal size the step is taken to have.
func (c Config) batches() int { return max(c.MicroBatches, 1) }

// wentBack counts a pass that has.
func (s *stepLosses) wentBack(p *pass) {
	if s.passes > 0 && s.announced != p.Info.StepTokens {
		s.announced = -1
	} else {
		s.announced = p.Info.StepTokens
	}
	s.passes++
	s.came += p.Global.TotalTokens()
	if len(s.counts) == 0 {
		s.counts = append(s.counts, p.Counted...)
		return
	}
	for e, n := range p.Counted {
		s.counts[e] += n
	}
}

// begin forgets the passes of the last step.
func (s *stepLosses) begin() {
	s.tokens, s.came, s.announced, s.passes, s.counts = 0, 0, 0, 0, s.counts[:0]
}

// announcement returns in what the passes since the last step, those of twins too, differ from
// Batch.StepTokens.
func (l *Layer) announcement() error {
	came, announced, first := 0, 0, true
	for _, t := range append([]*Layer{l}, l.twins...) {
		if t.losses.passes == 0 {
			continue
		}
		came += t.losses.came
		if t.losses.announced < 0 || !first && t.losses.announced != announced {
			return fmt.Errorf("passes of one step gave different numbers as Batch.StepTokens")
		}
		announced, first = t.losses.announced, false
	}
	if announced > 0 && came != announced {
		return fmt.Errorf(
			"%d tokens came in the passes of the step, and Batch.StepTokens announced %d", came, announced)
	}
	return nil
}

// dropStep forgets all passes since the last step, those of twins too.
func (l *Layer) dropStep() {
	l.guard.StepDone()
	for _, t := range append([]*Layer{l}, l.twins...) {
		if t.pending != nil {
			t.dropGradients()
			for _, set := range []*param.Set{t.gate.Params(), t.losses.params} {
				if set != nil {
					set.Grad.Reset()
				}
			}
			t.pending = nil
		}
		t.grads.passes = 0
		t.losses.begin()
	}
}

// reduceGate adds the gradient of the gate's parameters in pass p, summed over all ranks, to what
// earlier passes gave.
func (l *Layer) reduceGate(ctx context.Context, p *pass) error {
	apart := l.apart(p)
	if apart == nil {
		return l.sumOver(ctx, l.everyone, p.Global.Leaves, l.gate.Params(), &l.grads.gate)
	}
	sets, to := []*param.Set{l.gate.Params(), apart}, []*total{&l.grads.gate, &l.losses.mean}
	if err := takeSums(ctx, l.everyone, p.Global.Leaves, sets, to); err != nil {
		return err
	}
	l.grads.gate.add(l.grads.passes == 0)
	// What came was scaled as if this were one of so many passes alike.
	l.losses.average(l.losses.mean.next, p.Global.TotalTokens(), float64(l.cfg.batches()))
	return nil
}

// takeSums puts the sums of sets' gradients, over the ranks of comm that hold leaves each, in the
// totals' next, and resets the sets.
func takeSums(
	ctx context.Context, comm *collective.Comm, leaves []int, sets []*param.Set, to []*total,
) error {
	if comm.Size() == 1 && sets[0].Grad.Holds(0, leaves[0]) { // an expert's gradient is large: no copy
		for i, set := range sets {
			to[i].next = set.Grad.Take(to[i].next)
		}
		return nil
	}
	dst, sums := make([][]float32, len(sets)), make([]*tree.Sum, len(sets))
	for i, set := range sets {
		to[i].next = slices.Grow(to[i].next[:0], len(set.Value))[:len(set.Value)]
		dst[i], sums[i] = to[i].next, set.Grad
	}
	if err := comm.AllReduceTree(ctx, leaves, dst, sums...); err != nil {
		return err
	}
	for _, set := range sets {
		set.Grad.Reset()
	}
	return nil
}

// add adds next to the sum, or makes it the sum.
func (t *total) add(first bool) {
	if first {
		t.sum, t.next = t.next, t.sum
		return
	}
	f32.Add(t.sum, t.next)
}

// average takes factor times grad, the mean over so many tokens, into the mean.
func (s *stepLosses) average(grad []float32, tokens int, factor float64) {
	if tokens == 0 {
		return
	}
	all := float64(s.tokens + tokens)
	old, new := float32(float64(s.tokens)/all), float32(factor*float64(tokens)/all)
	s.mean.sum = slices.Grow(s.mean.sum[:0], len(grad))[:len(grad)]
	for i, g := range grad {
		if s.tokens == 0 {
			s.mean.sum[i] = g * new
			continue
		}
		s.mean.sum[i] = float32(s.mean.sum[i]*old) + float32(g*new)
	}
	s.tokens += tokens
}

// absorb takes the mean of a twin.
func (s *stepLosses) absorb(t *stepLosses) {
	s.average(t.mean.sum, t.tokens, 1)
	t.tokens = 0
}

// gateGradient is the gradient of the gate's parameters, of the weights and of the losses.
func (l *Layer) gateGradient() []float32 {
	if l.losses.tokens == 0 {
		return l.grads.gate.sum
	}
	l.losses.both = append(l.losses.both[:0], l.grads.gate.sum...)
	f32.Add(l.losses.both, l.losses.mean.sum)
	return l.losses.both
}
