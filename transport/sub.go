package transport

import (
	"context"
	"fmt"
	"slices"
)

// Sub returns a view of t for some of its ranks: a transport whose rank i is members[i], and whose
// tags contain channel, so that its messages never match those of the world or of another channel.
// Every member calls Sub with the same channel and the same list. The errors of a view name ranks
// of the world. Closing a view does nothing: t must still be closed by its owner.
//
// If t is a view itself, members are numbers in t, and the result is a view of t's world: it costs
// as much as one made of that. Its channel takes the place of t's, so it must be another one than
// t's, and than that of each view with which it shares two ranks.
func Sub(t Transport, channel uint16, members []Rank) (Transport, error) {
	if channel == 0 {
		return nil, fmt.Errorf("transport: Sub: channel 0 is the world's")
	}
	me := slices.Index(members, t.Rank())
	if me < 0 {
		return nil, fmt.Errorf("transport: Sub: rank %d is not among members %v", t.Rank(), members)
	}
	seen := make(map[Rank]bool, len(members))
	for _, r := range members {
		if r < 0 || int(r) >= t.Size() || seen[r] {
			return nil, fmt.Errorf("transport: Sub: member %d is outside 0..%d or listed twice in %v", r, t.Size()-1, members)
		}
		seen[r] = true
	}
	view := &sub{t: t, me: Rank(me), members: slices.Clone(members), channel: Tag(channel) << TagBits}
	if of, ok := t.(*sub); ok {
		return view.flatten(of)
	}
	return view, nil
}

// flatten makes s, which is a view of the view of, one of its world.
func (s *sub) flatten(of *sub) (Transport, error) {
	if s.channel == of.channel {
		return nil, fmt.Errorf("transport: Sub: channel %d is that of the view of which it is made", s.channel>>TagBits)
	}
	s.t = of.t
	for i, r := range s.members {
		s.members[i] = of.members[r]
	}
	return s, nil
}

// IsView reports whether t was made by [Sub].
func IsView(t Transport) bool {
	_, is := t.(*sub)
	return is
}

// Joined returns the rank of the world that is rank r of t if t is a view, else r. Errors name
// ranks of the world.
func Joined(t Transport, r Rank) Rank {
	if s, ok := t.(*sub); ok {
		return s.members[r]
	}
	return r
}

type sub struct {
	t       Transport
	me      Rank
	members []Rank
	channel Tag
}

func (s *sub) Rank() Rank   { return s.me }
func (s *sub) Size() int    { return len(s.members) }
func (s *sub) Close() error { return nil }

func (s *sub) Send(ctx context.Context, to Rank, tag Tag, bufs ...[]byte) error {
	return s.t.Send(ctx, s.members[to], s.channel|tag, bufs...)
}

func (s *sub) Recv(ctx context.Context, from Rank, tag Tag, bufs ...[]byte) (int, error) {
	return s.t.Recv(ctx, s.members[from], s.channel|tag, bufs...)
}

func (s *sub) Exchange(ctx context.Context, sends, recvs []Message) error {
	out, in := s.translate(sends), s.translate(recvs)
	err := Exchange(ctx, s.t, out, in)
	for i := range in {
		recvs[i].N = in[i].N
	}
	return err
}

func (s *sub) translate(list []Message) []Message {
	out := make([]Message, len(list))
	for i, m := range list {
		m.Peer, m.Tag = s.members[m.Peer], s.channel|m.Tag
		out[i] = m
	}
	return out
}

func (s *sub) Capabilities() Capabilities { return CapabilitiesOf(s.t) }

func (s *sub) WireBytes() uint64 {
	if c, ok := s.t.(Counter); ok {
		return c.WireBytes()
	}
	return 0
}

// Alloc and Free are those of the world's transport, if it has them.
func (s *sub) Alloc(n int) []byte {
	if a, ok := s.t.(Allocator); ok {
		return a.Alloc(n)
	}
	return nil
}

func (s *sub) Free(b []byte) bool {
	a, ok := s.t.(Allocator)
	return ok && a.Free(b)
}
