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

// StepDone notes that the gradients of the family have been used, or dropped.
func (g *Guard) StepDone() {
	g.note(func() {
		for _, of := range g.family.guards {
			of.passes = 0
		}
	})
}

func (g *Guard) note(change func()) {
	g.family.mu.Lock()
	defer g.family.mu.Unlock()
	change()
}

// CheckNoneWaits returns an error if a pass of the family is in flight: op would change or use up
// what that needs.
func (g *Guard) CheckNoneWaits(op string) error {
	g.family.mu.Lock()
	defer g.family.mu.Unlock()
	var held []string
	for _, of := range g.family.guards {
		for _, p := range of.open {
			if p.plain {
				return g.Misuse(op, "a Forward has had no Backward; call Backward, or Discard where no gradient is wanted")
			}
			held = append(held, strconv.FormatUint(p.number, 10))
		}
	}
	const most = 8
	switch {
	case len(held) > most:
		held = append(held[:most], "…")
	case len(held) == 0:
		return nil
	}
	return g.Misuse(op, "passes are in flight, with the numbers %s; end each by Backward or Release",
		strings.Join(held, ", "))
}

// CheckBoundary returns an error unless the family stands between two steps: a Forward waits for
// its Backward, or gradients for the step that uses them.
func (g *Guard) CheckBoundary(op string) error {
	if err := g.CheckNoneWaits(op); err != nil {
		return err
	}
	g.family.mu.Lock()
	defer g.family.mu.Unlock()
	passes := 0
	for _, of := range g.family.guards {
		passes += of.passes
	}
	if passes > 0 {
		return g.Misuse(op, "the gradients of %d backward passes wait; call Step, or DiscardGradients where they are not wanted", passes)
	}
	return nil
}

// CheckStep returns an error if there are no gradients for a step, or if a pass has begun with the
// parameters before it.
func (g *Guard) CheckStep(op string) error {
	if err := g.CheckNoneWaits(op); err != nil {
		return err
	}
	g.family.mu.Lock()
	defer g.family.mu.Unlock()
	for _, of := range g.family.guards {
		if of.passes > 0 {
			return nil
		}
	}
	return g.Misuse(op, "there has been no %s since the last Step", cmp.Or(g.cfg.Sums, "Backward"))
}
