package gradients

import "slices"

// A loss over the whole step counts the choices of a pass together with those of the passes of the
// step before it: of lower numbers, up to the first that had not chosen when this one was begun.
// The passes of ranks that run them at the same time may have chosen earlier on one rank than on
// another; so the ranks agree on the last pass to count, and count the same then.

// choices is what a pass has to do with this.
type choices struct {
	known, listed bool  // what its tokens chose is known, and listed in earlier
	of            []int // of each expert, nil if no loss asks for it
	tokens        int
	before        int // the number of the last pass that is counted with it
}

// sumOfChoices is the choices of the passes of a step up to one of a number. A pass that has none,
// as in an evaluation, adds no sum: there may be any number of such passes without a step.
type sumOfChoices struct {
	last   uint64
	of     []int
	tokens int
}

// Chose notes what the tokens of all ranks chose in a forward pass, and their number. A pass
// chooses once: if it is repeated that changes nothing. One that goes back without it, or ends, has
// chosen too.
func (p *Pass) Chose(of []int, tokens int) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.chose(p.m, of, tokens)
}

func (r *Reducer) chose(m *memory, of []int, tokens int) {
	if m.known {
		return
	}
	m.known, m.of, m.tokens = true, of, tokens
	for _, m := range r.flight {
		if !m.known {
			return
		}
		if !m.listed {
			r.list(m)
		}
	}
}

// list adds the choices of a pass to those before it.
func (r *Reducer) list(m *memory) {
	m.listed = true
	if len(m.of) == 0 {
		return
	}
	var sum sumOfChoices
	if n := len(r.earlier); n > 0 {
		sum = r.earlier[n-1]
	}
	sum.of = slices.Grow(slices.Clone(sum.of), len(m.of))[:len(m.of)]
	sum.last, sum.tokens = m.number, sum.tokens+m.tokens
	for e, n := range m.of {
		sum.of[e] += n
	}
	r.earlier = append(r.earlier, sum)
}

// lastKnown is the number of the last pass before that of a number of which, and of all before it,
// it is known what they chose.
func (r *Reducer) lastKnown(number uint64) int {
	for _, m := range r.flight {
		if !m.known {
			return int(m.number) - 1
		}
	}
	return int(number) - 1
}

// Before is the number of the last pass of those that count with this one: all up to it had chosen
// when this one was begun.
func (p *Pass) Before() int {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.m.before
}

// Earlier returns how many tokens of the passes of the step up to number last chose each expert,
// nil if no loss asks for it, and the number of those tokens. The caller must not change the list.
func (p *Pass) Earlier(last int) (choices []int, tokens int) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	for _, sum := range slices.Backward(p.r.earlier) {
		if int(sum.last) <= last {
			return sum.of, sum.tokens
		}
	}
	return nil, 0
}

// restart forgets the passes of the last step.
func (r *Reducer) restart() {
	for i := range r.sums {
		r.sums[i].passes = 0
	}
	r.own.restart()
	r.losses.restart()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.earlier = r.earlier[:0]
}
