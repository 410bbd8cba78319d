package switchyard

import (
	"cmp"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
)

// Machine describes the machines of a world's ranks. A layer takes from it what its [Config] leaves
// out.
type Machine struct {
	// Topology is for [Config].Topology: [World.Topology] is what Join has found.
	Topology alltoall.Topology
	// Links are for [Config].Links: [World.MeasureLinks] times them.
	Links links.Links
	// Hosted is the number of experts of each rank of the world, for [Config].Hosted. The copies of
	// the experts must have the same numbers, and each copy all experts of the layer.
	Hosted []int
}

// SetMachine says what layers made from now on take that do not say otherwise, and so do those of
// groups made from now on, for their own ranks; long sums by [World.Comm] are taken by node
// ([collective.Comm.SetNodes]). Without it all ranks are on one node, links are not
// known and experts are spread evenly, whatever Join has found: so a job has the same exchanges on
// any machines. Every rank calls it, with the same machine, before the first layer.
func (w *World) SetMachine(m Machine) error {
	const op = "SetMachine"
	if err := w.agree(op, "layers", w.layers, "Topology", m.Topology.Node, "Links", m.Links, "Hosted", m.Hosted); err != nil {
		return err
	}
	if w.layers > 0 {
		return errtext.Errorf("switchyard: %s: the world has %d layers, want it before the first", op, w.layers)
	}
	err := cmp.Or(m.Topology.Validate(w.Size()), m.Links.Validate(), layout.CheckMachineHosted(m.Hosted, w.Size()))
	if err != nil {
		return errtext.Errorf("switchyard: %s: %w", op, err)
	}
	all := layout.Ranks(0, w.Size(), 1)
	w.machine = machineOf(all, m)
	return layout.SetNodes(w.comm, all, m.Topology.Node, m.Links)
}

// machineOf is the machine of some ranks of m's, with memory of its own.
func machineOf[R ~int](ranks []R, m Machine) Machine {
	return Machine{layout.Nodes(ranks, m.Topology.Node), m.Links, layout.Pick(ranks, m.Hosted)}
}

// fill completes the configuration of a layer.
func (m Machine) fill(c Config) (_ Config, err error) {
	if len(c.Topology.Node) == 0 {
		c.Topology = m.Topology
	}
	if len(c.Hosted) == 0 {
		c.Hosted, err = layout.HostedOfCopies(m.Hosted, c.ExpertParallel)
	}
	c.Links = cmp.Or(c.Links, m.Links)
	return c, err
}
