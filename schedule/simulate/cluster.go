package simulate

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Cluster is many ranks that run the same graph: Nodes machines of PerNode ranks each, rank r on
// machine r/PerNode.
//
// Tasks on the intra resource are collectives of the ranks of a machine; those on the inter
// resource, of the ranks with the same number in their machines (FSMoE's layout; with PerNode 1
// these are all ranks). A collective begins when the last of its ranks is ready for it, and each
// rank leaves it when its own rows have been moved.
type Cluster struct {
	Nodes, PerNode int
	// Costs are those of a rank without any of the following.
	Costs schedule.Costs
	// Slow holds for each rank the factor by which it computes more slowly: 1.3 is a straggler.
	// Nil: all 1.
	Slow []float64
	// Link holds for each rank the factor by which its link to other nodes is slower. All-reduces
	// run in rings, at the pace of their slowest link. Nil: all 1.
	Link []float64
	// Load returns the rows of the rank's experts, divided by the mean of all ranks. Nil: 1,
	// experts are evenly loaded. It is called for every task and rank, and must be pure.
	Load func(step, layer, rank int) float64
	// Noise returns a factor on the time of a rank's computing tasks of a layer and pass. Nil: 1.
	// It must be pure.
	Noise func(step, layer, rank int, pass schedule.Pass) float64
	// Watch names the ranks whose timelines are kept.
	Watch []int
}

// ClusterRun is the result of simulating a cluster.
type ClusterRun struct {
	// StepTime is the mean time of a step, in seconds: that of all steps until the last rank ended,
	// over their number.
	StepTime float64
	// Exposed is the mean over ranks and steps of the time in which a rank computes nothing.
	Exposed float64
	// Timelines are those of the ranks in Cluster.Watch, in this order, of the last step. A
	// timeline's Begin is the zero time plus the time that the rank had run before this step.
	Timelines []schedule.Timeline
}

// Validate reports everything that is wrong with the cluster.
func (c *Cluster) Validate() error {
	var faults []error
	if c.Nodes < 1 || c.PerNode < 1 {
		faults = append(faults, fmt.Errorf("simulate: %d nodes of %d ranks; want at least 1 of 1", c.Nodes, c.PerNode))
	}
	ranks := c.Nodes * c.PerNode
	for i, factors := range [][]float64{c.Slow, c.Link} {
		if factors != nil && len(factors) != ranks {
			faults = append(faults, fmt.Errorf("simulate: %s has %d entries for %d ranks", []string{"Slow", "Link"}[i], len(factors), ranks))
		}
		for r, v := range factors {
			if !(v > 0) {
				faults = append(faults, fmt.Errorf("simulate: %s of rank %d is %v; must be above 0", []string{"Slow", "Link"}[i], r, v))
			}
		}
	}
	for _, r := range c.Watch {
		if r < 0 || r >= ranks {
			faults = append(faults, fmt.Errorf("simulate: Watch names rank %d of %d", r, ranks))
		}
	}
	return errors.Join(faults...)
}

// Simulate runs the graph the given number of times on all ranks. It panics if the cluster or the
// graph is not valid, or the number is not positive.
func (c *Cluster) Simulate(g *schedule.Graph, steps int) ClusterRun {
	if err := errors.Join(c.Validate(), g.Validate()); err != nil {
		panic(err.Error())
	}
	if steps < 1 {
		panic(fmt.Sprintf("simulate: %d steps; want at least 1", steps))
	}
	w := newWorld(c, g)
	for step := range steps {
		w.step(step, step == steps-1)
	}
	return w.result(steps)
}
