// Package views makes transports between ranks of a job whose messages meet no others, each on a
// channel of its own, and groups of ranks that make such transports by themselves.
package views

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

// Views makes the views of a world: the ranks of a job, or of a group of them. Every rank of the
// world makes as many as the others, in the same order. It is for one goroutine.
type Views struct {
	transport transport.Transport
	members   []transport.Rank // the transport's number of each rank
	rank      transport.Rank
	id        lockstep.GroupID
	made      uint16

	channels  *channels        // of this rank
	free, end int              // those that this world has and has not used: free to end-1
	control   *collective.Comm // by which ranks agree on more, once they have groups
}

// New makes views of t, with t's numbers of ranks.
func New(t transport.Transport) *Views {
	return &Views{
		transport: t, members: layout.Ranks(0, t.Size(), 1), rank: t.Rank(), channels: &channels{next: 1},
	}
}

// Rank is this rank's number.
func (v *Views) Rank() transport.Rank { return v.rank }

// Size is the number of ranks.
func (v *Views) Size() int { return len(v.members) }

// Next is the stream of operations on the next view, and Making that of making views. They are the
// same on all ranks of the world, and no other world has them.
func (v *Views) Next() lockstep.StreamID { return v.id.Stream(v.made + 1) }

// Making is the stream of operations by which the ranks make views together.
func (v *Views) Making() lockstep.StreamID { return v.id.Stream(0) }

// Joined is the transport's number of a rank.
func (v *Views) Joined(r transport.Rank) transport.Rank { return v.members[r] }

// All makes a view of all ranks.
func (v *Views) All() (transport.Transport, error) { return v.Of(layout.Ranks(0, v.Size(), 1)) }

// Of makes a view of the given ranks. All of them give the same list.
func (v *Views) Of(members []transport.Rank) (transport.Transport, error) {
	return v.Over(v.transport, members)
}

// Over is Of whose messages go through t, which is the transport with something before it.
func (v *Views) Over(t transport.Transport, members []transport.Rank) (transport.Transport, error) {
	channel, err := v.channel()
	if err != nil {
		return nil, err
	}
	joined, err := v.joined(members)
	if err != nil {
		return nil, err
	}
	return transport.Sub(t, channel, joined)
}

// channel takes the channel of the next view.
func (v *Views) channel() (uint16, error) {
	if v.free == v.end {
		var err error
		if v.control == nil {
			v.free, v.end, err = v.channels.one()
		} else {
			v.free, v.end, err = v.channels.agree(v.control)
		}
		if err != nil {
			return 0, err
		}
	}
	v.free++
	v.made++
	return uint16(v.free - 1), nil
}

// joined are the transport's numbers of ranks.
func (v *Views) joined(ranks []transport.Rank) ([]transport.Rank, error) {
	list := make([]transport.Rank, len(ranks))
	for i, r := range ranks {
		if r < 0 || int(r) >= v.Size() {
			return nil, fmt.Errorf("switchyard: view of rank %d, outside 0..%d", r, v.Size()-1)
		}
		list[i] = v.members[r]
	}
	return list, nil
}

// Reordered returns views in which rank i is v's rank order[i]. They take v's place, and count on
// from v's.
func (v *Views) Reordered(order []int) (*Views, error) {
	if err := layout.CheckOrder(order, v.Size()); err != nil {
		return nil, err
	}
	n := *v
	n.members = make([]transport.Rank, len(order))
	for i, r := range order {
		n.members[i] = v.members[r]
		if transport.Rank(r) == v.rank {
			n.rank = transport.Rank(i)
		}
	}
	if v.control == nil {
		return &n, nil
	}
	return &n, n.connect()
}

// connect makes what ranks agree by.
func (v *Views) connect() error {
	all, err := v.All()
	if err != nil {
		return err
	}
	v.control = collective.New(all)
	return nil
}

// Nodes returns the node of each rank: nodes is by the transport's numbers, and nil if it is not
// known. For other ranks than the transport's, or in another order, nodes are numbered from 0 in
// the order in which they come.
func (v *Views) Nodes(nodes []int) []int {
	if nodes == nil || len(v.members) == v.transport.Size() && slices.IsSorted(v.members) {
		return slices.Clone(nodes)
	}
	return layout.Nodes(v.members, nodes).Node
}
