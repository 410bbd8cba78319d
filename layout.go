package switchyard

import (
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
)

// layout is where this rank stands in expert parallel × data parallel: replica by replica, each of
// them parallel consecutive ranks that share one copy of the experts.
type layout struct {
	parallel int // ranks of one copy
	copies   int // copies of the experts
	copy     int // the copy that this rank belongs to
	seat     int // this rank's place in its copy
	place    alltoall.Placement
}

func layoutOf(c Config, w *World) layout {
	at := layout{parallel: c.ExpertParallel}
	if at.parallel == 0 {
		at.parallel = w.Size()
	}
	at.copies = w.Size() / at.parallel
	at.copy, at.seat = int(w.Rank())/at.parallel, int(w.Rank())%at.parallel
	at.place = alltoall.Even(c.Experts, at.parallel)
	if len(c.Hosted) > 0 {
		at.place = alltoall.Hosted(c.Hosted)
	}
	return at
}

// oneCopy lists the ranks of this rank's copy of the experts.
func (at layout) oneCopy() []transport.Rank { return ranks(at.copy*at.parallel, at.parallel, 1) }

// sameExperts lists the ranks that host the experts that this one hosts.
func (at layout) sameExperts() []transport.Rank { return ranks(at.seat, at.copies, at.parallel) }

// topology is that of the ranks of this copy, whose nodes it numbers anew.
func (at layout) topology(world alltoall.Topology) alltoall.Topology {
	if len(world.Node) == 0 {
		return world
	}
	return alltoall.Topology{Node: renumbered(at.oneCopy(), func(r transport.Rank) int { return world.Node[r] })}
}
