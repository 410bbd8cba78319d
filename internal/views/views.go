// Package views makes transports between ranks of a job whose messages meet no others, each on a
// channel of its own.
package views

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/transport"
)

// Views makes the views of one rank of a job. Every rank makes as many as the others, in the same
// order. It is for one goroutine.
type Views struct {
	transport transport.Transport
	order     []transport.Rank // the transport's number of each rank; nil if it is the same
	rank      transport.Rank
	made      uint16
}

// New makes views of t, with t's numbers of ranks.
func New(t transport.Transport) *Views { return &Views{transport: t, rank: t.Rank()} }

// Rank is this rank's number.
func (v *Views) Rank() transport.Rank { return v.rank }

// Made is the number of views made so far. Views are numbered from 1.
func (v *Views) Made() uint16 { return v.made }

// Joined is the transport's number of a rank.
func (v *Views) Joined(r transport.Rank) transport.Rank {
	if v.order == nil {
		return r
	}
	return v.order[r]
}

// All makes a view of all ranks.
func (v *Views) All() (transport.Transport, error) {
	return v.Of(layout.Ranks(0, v.transport.Size(), 1))
}

// Of makes a view of the given ranks. All of them give the same list.
func (v *Views) Of(members []transport.Rank) (transport.Transport, error) {
	if v.made == math.MaxUint16 {
		return nil, fmt.Errorf("switchyard: the world has %d views, those of its layers included, "+
			"and can have no more", v.made)
	}
	v.made++
	if v.order == nil {
		return transport.Sub(v.transport, v.made, members)
	}
	joined := make([]transport.Rank, len(members))
	for i, r := range members {
		if r < 0 || int(r) >= len(v.order) {
			return nil, fmt.Errorf("switchyard: view of rank %d, outside 0..%d", r, len(v.order)-1)
		}
		joined[i] = v.order[r]
	}
	return transport.Sub(v.transport, v.made, joined)
}

// Reordered returns views in which rank i is v's rank order[i]. They take v's place, and count on
// from v's.
func (v *Views) Reordered(order []int) (*Views, error) {
	if err := layout.CheckOrder(order, v.transport.Size()); err != nil {
		return nil, err
	}
	n := &Views{transport: v.transport, made: v.made, order: make([]transport.Rank, len(order))}
	for i, r := range order {
		n.order[i] = v.Joined(transport.Rank(r))
		if transport.Rank(r) == v.rank {
			n.rank = transport.Rank(i)
		}
	}
	return n, nil
}

// Nodes returns the node of each rank: nodes is by the transport's numbers. If ranks have been
// reordered, nodes are numbered from 0 in the order in which they come.
func (v *Views) Nodes(nodes []int) []int {
	if nodes == nil || v.order == nil {
		return append([]int(nil), nodes...)
	}
	return layout.Nodes(v.order, nodes).Node
}
