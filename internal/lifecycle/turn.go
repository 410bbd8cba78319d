package lifecycle

import "cmp"

// A step is passes, each a Forward and then its Backward, and then Step. What follows keeps count
// of them, and says whether a method that concerns the parameters may run.

// ForwardDone notes a Forward that waits for its Backward.
func (g *Guard) ForwardDone() { g.note(func() { g.waiting = true }) }

// ForwardDropped notes that the Forward that waited, if there was one, waits no more.
func (g *Guard) ForwardDropped() { g.note(func() { g.waiting = false }) }

// BackwardDone notes a Backward whose gradients the next step will use.
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

// CheckNoneWaits returns an error if a Forward of the family waits for its Backward: op would
// change or use up what that needs.
func (g *Guard) CheckNoneWaits(op string) error {
	g.family.mu.Lock()
	defer g.family.mu.Unlock()
	for _, of := range g.family.guards {
		if of.waiting {
			return g.Misuse(op, "a Forward has had no Backward; call Backward, or Discard where no gradient is wanted")
		}
	}
	return nil
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
