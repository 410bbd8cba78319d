package alltoall

import "slices"

// The classes of links whose rows have codecs of their own. Without [Wire.Within] all are far.
const (
	far  = iota // between nodes
	near        // between ranks of one node
	own         // from a rank to itself
	linkClasses
)

// wires are the legs of an exchange, by class of link.
type wires struct {
	of    [linkClasses]legs
	links []uint8 // class of the link to each rank; nil if all are far
}

// newWires are those of a rank.
func newWires(w Wire, dim int, t Topology, rank, ranks int) wires {
	all := wires{of: [linkClasses]legs{far: newLegs(w, dim)}}
	if w.Within == nil {
		return all
	}
	all.of[near], all.of[own] = newLegs(*w.Within, dim), newLegs(Wire{}, dim)
	all.links = make([]uint8, ranks)
	for r := range all.links {
		switch {
		case r == rank:
			all.links[r] = own
		case t.NodeOf(r) == t.NodeOf(rank):
			all.links[r] = near
		}
	}
	return all
}

// link is the class of the link to or from a rank.
func (w *wires) link(rank int) int {
	if w.links == nil {
		return far
	}
	return int(w.links[rank])
}

// to are the legs of rows to or from a rank.
func (w *wires) to(rank int) *legs { return &w.of[w.link(rank)] }

// widest is the most bytes that a row has.
func (w *wires) widest() (n int) {
	for i := range w.of {
		n = max(n, w.of[i].widest())
	}
	return n
}

// narrows reports whether any row of the first trip is written in another format than float32.
func (w *wires) narrows() bool {
	return slices.ContainsFunc(w.of[:], func(l legs) bool { return l.narrows() })
}

// SetWire changes the codecs of the exchange, those of [Wire.Within] too, for what begins from now
// on: its exchanges and its passes. All ranks call it with the same, at the same place between
// their other calls, and not at the same time as Pass. It is an error, and nothing is changed, if
// the wire is not valid, x is a pass, or a handle of x has not been released. Passes that are open
// keep theirs.
func (x *Exchange) SetWire(w Wire) error {
	switch {
	case x.whole != nil:
		return x.misuse("set wire", "of a pass, want the exchange that Pass was called on")
	case x.handles > 0:
		return x.misuse("set wire", "%w: %d handles have not been released", ErrOrder, x.handles)
	}
	if err := w.Validate(x.dim); err != nil {
		return x.misuse("set wire", "%w", err)
	}
	x.setWire(w)
	return nil
}

func (x *Exchange) setWire(w Wire) {
	t := x.chooser.topology
	x.wire, x.wires = w, newWires(w, x.dim, t, x.rank(), x.size())
	if x.maxRelay = x.setRelay; x.maxRelay == 0 {
		x.maxRelay = max(DefaultMaxRelay, times(x.maxRows, max(times(4, x.dim), x.wires.widest())))
	}
	link := far
	if w.Within != nil && len(x.chooser.nodes.members) == 1 {
		link = near
	}
	x.chooser.rowBytes = x.wires.of[link].dispatch.width
}
