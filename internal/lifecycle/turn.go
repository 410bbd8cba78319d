package lifecycle

import (
	"cmp"
	"strconv"
	"strings"
)

// A step is passes, each a Forward and then its Backward, and then Step. What follows keeps count
// of them, and says whether a method that concerns the parameters may run.

// BackwardDone notes gradients that the next step will use, but for those of a [Pass].
func (g *Guard) BackwardDone() { g.note(func() { g.passes++ }) }

// StepDone notes that the gradients have been used, or dropped.
func (g *Guard) StepDone() { g.note(func() { g.passes = 0 }) }

func (g *Guard) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// CheckNoneWaits returns an error if a pass is in flight: op would change or use up what that
// needs.
func (g *Guard) CheckNoneWaits(op string) error {
	const most = 8 // named
	var held []string
	waits := false
	g.note(func() {
		for _, p := range g.open {
			if waits = waits || p.plain; len(held) <= most {
				held = append(held, strconv.FormatUint(p.number, 10))
			}
		}
	})
	switch {
	case waits:
		return g.Misuse(op, "a Forward has had no Backward; call Backward, or Discard where no gradient is wanted")
	case len(held) == 0:
		return nil
	case len(held) > most:
		held[most] = "…"
	}
	return g.Misuse(op, "passes are in flight, with the numbers %s; end each by Backward or Release",
		strings.Join(held, ", "))
}

// CheckBoundary returns an error unless the layer stands between two steps: a pass is in flight, or
// gradients wait for the step that uses them.
func (g *Guard) CheckBoundary(op string) error {
	if err := g.CheckNoneWaits(op); err != nil {
		return err
	}
	if n := g.waiting(); n > 0 {
		return g.Misuse(op, "the gradients of %d backward passes wait; call Step, or DiscardGradients where they are not wanted", n)
	}
	return nil
}

// CheckStep returns an error if there are no gradients for a step, or if a pass has begun with the
// parameters before it.
func (g *Guard) CheckStep(op string) error {
	if err := g.CheckNoneWaits(op); err != nil {
		return err
	}
	if g.waiting() > 0 {
		return nil
	}
	return g.Misuse(op, "there has been no %s since the last Step", cmp.Or(g.cfg.Sums, "Backward"))
}

// waiting is the number of passes whose gradients wait for a step.
func (g *Guard) waiting() (n int) {
	g.note(func() { n = g.passes })
	return n
}
