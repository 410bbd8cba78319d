package views

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

// ID is that of the group in the streams of its operations; 0 for the whole job.
func (v *Views) ID() lockstep.GroupID { return v.id }

// Agreed reports whether ranks agree on the channels of their views.
func (v *Views) Agreed() bool { return v.control != nil }

// String lists the transport's numbers of the ranks, the first few if they are many.
func (v *Views) String() string { return layout.List(v.members) }

// Group returns views of which rank i is v's rank members[i], or nil if members do not include this
// rank. All ranks of v call it. They tell each other their lists, so all get an error if the lists
// of two ranks contradict each other, and their next channels, of which the groups of one call get
// the same: they share no rank.
func (v *Views) Group(members []transport.Rank) (*Views, error) {
	if v.control == nil {
		if err := v.connect(); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(members, v.rank) {
		members = nil
	}
	first, end, err := v.agree(members)
	if err != nil || members == nil {
		return nil, err
	}
	joined, err := v.joined(members)
	if err != nil {
		return nil, err
	}
	g := &Views{
		transport: v.transport, members: joined, rank: transport.Rank(slices.Index(members, v.rank)),
		// No two groups of a rank have the same channels, so this is the only one with both.
		id:       lockstep.GroupID(joined[0])<<16 | lockstep.GroupID(first),
		channels: v.channels, free: first, end: end,
	}
	return g, g.connect()
}

// agree checks the lists of all ranks, and returns the channels of the groups.
func (v *Views) agree(members []transport.Rank) (first, end int, err error) {
	if err := v.channels.lock(); err != nil {
		return 0, 0, err
	}
	defer v.channels.busy.Unlock()
	mine := proposal{v.channels.next, members[:min(len(members), v.Size()+1)]}
	all, err := v.control.AllGatherAny(context.Background(), mine.encode(), (v.Size()+2)*binary.MaxVarintLen64)
	if err != nil {
		return 0, 0, err
	}
	lists := make([][]transport.Rank, len(all))
	for r, b := range all {
		p, err := decode(b)
		if err != nil {
			return 0, 0, v.fault(transport.Rank(r), err)
		}
		first, lists[r] = max(first, p.next), p.members
	}
	if r, err := layout.CheckGroups(lists, v.Joined); err != nil {
		return 0, 0, lifecycle.Agreed(v.fault(r, fmt.Errorf("%w: %w", transport.ErrMismatch, err)))
	}
	return v.channels.take(first, block)
}

func (v *Views) fault(r transport.Rank, err error) error {
	return &transport.Error{Rank: v.Joined(r), Op: "Group", Err: err}
}

// proposal is what a rank says when groups are made: the first channel that it has never used, and
// its list, empty if it will be in no group.
type proposal struct {
	next    int
	members []transport.Rank
}

// encode writes p as varints.
func (p proposal) encode() []byte {
	b := binary.AppendVarint(nil, int64(p.next))
	for _, r := range p.members {
		b = binary.AppendVarint(b, int64(r))
	}
	return b
}

// decode reads what encode wrote.
func decode(b []byte) (p proposal, err error) {
	var numbers []int64
	for len(b) > 0 {
		n, size := binary.Varint(b)
		if size <= 0 {
			return p, fmt.Errorf("%w: a list of ranks does not parse", transport.ErrProtocol)
		}
		numbers, b = append(numbers, n), b[size:]
	}
	if len(numbers) == 0 || numbers[0] < 1 || numbers[0] > 1<<16 {
		return p, fmt.Errorf("%w: its next channel is none", transport.ErrProtocol)
	}
	p.next = int(numbers[0])
	for _, n := range numbers[1:] {
		p.members = append(p.members, transport.Rank(n))
	}
	return p, nil
}
