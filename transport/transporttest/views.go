package transporttest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

var viewClaims = []claim{
	{"Apart", "messages of a view never meet those of the world or of another channel under the same tags", 3, testViewsApart},
	{"Numbering", "rank i of a view is members[i]", 4, testViewNumbering},
	{"Groups", "groups of ranks that share no member may use the same channel", 4, testViewGroups},
	{"WorldRanks", "the errors of a view name ranks of the world", 4, testViewErrors},
	{"AllTags", "every value of 48 bits is a tag of every channel", 2, testViewTags},
	{"Abilities", "a view has the capabilities and the counter of the world", 3, testViewAbilities},
	{"Close", "closing a view does nothing", 2, testViewClose},
	{"Nested", "a view of a view is one of the world: its ranks are members of members, its messages its own", 4, testNestedViews},
	{"Refusals", "channel 0, that of the view of which it is made, a view without this rank and a wrong list are refused", 3, testViewRefusals},
}

// RunViews tests [transport.Sub] over the transports that open returns, as [Run] tests the
// transports themselves.
func RunViews(t *testing.T, open func(t *testing.T, n int) []transport.Transport) {
	runClaims(t, open, viewClaims)
}

// view is a job whose ranks are the views of j's members.
func (j *job) view(channel uint16, members ...transport.Rank) *job {
	j.Helper()
	v := &job{T: j.T, rand: j.rand}
	for i, m := range members {
		s, err := transport.Sub(j.ranks[m], channel, members)
		require.NoError(j, err)
		require.Equal(j, transport.Rank(i), s.Rank())
		require.Equal(j, len(members), s.Size())
		v.ranks = append(v.ranks, s)
	}
	return v
}

func testViewsApart(j *job) {
	layers := []*job{j, j.view(1, 0, 1, 2), j.view(2, 0, 1, 2), j.view(1<<16-1, 0, 1, 2)}
	var parts []part
	for i, layer := range layers {
		for k := range layers {
			// Each layer has its own order of sends and of receives.
			tag := transport.Tag((i + k) % len(layers))
			body := payload(uint64(i), 1000+i)
			parts = append(parts, layer.send(0, 1, tag, body), layer.recv(1, 0, tag, body))
		}
	}
	j.together(parts...)
}

func testViewNumbering(j *job) {
	members := []transport.Rank{3, 0, 2}
	v := j.view(5, members...)
	body := payload(1, 100)
	j.together(v.send(0, 2, 1, body), v.recv(2, 0, 1, body))
	v.each(func(ctx context.Context, t transport.Transport) error {
		n := t.Size()
		var sends, recvs []transport.Message
		for peer := range n {
			sends = append(sends, message(peer, 9, payload(uint64(int(t.Rank())*n+peer), 50)))
			recvs = append(recvs, message(peer, 9, make([]byte, 60)))
		}
		if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
			return err
		}
		for peer, m := range recvs {
			if m.Peer != transport.Rank(peer) {
				return errors.New("Exchange has changed its messages")
			}
			if err := same(m.Bufs[0][:m.N], payload(uint64(peer*n+int(t.Rank())), 50)); err != nil {
				return err
			}
		}
		return nil
	})
}

func testViewGroups(j *job) {
	a, b := j.view(1, 0, 2), j.view(1, 3, 1)
	one, two := payload(1, 300), payload(2, 400)
	j.together(a.send(0, 1, 1, one), a.recv(1, 0, 1, one), b.send(0, 1, 1, two), b.recv(1, 0, 1, two), a.works(1, 0), b.works(0, 1))
}

func testViewErrors(j *job) {
	v := j.view(1, 1, 3)
	j.together(func(parent context.Context) error {
		ctx, cancel := context.WithTimeout(parent, soon)
		defer cancel()
		_, err := v.ranks[0].Recv(ctx, 1, 1)
		return isFault(err, context.DeadlineExceeded, 3)
	})
}

func testNestedViews(j *job) {
	outer := j.view(1, 3, 0, 2)
	middle := outer.view(2, 2, 0)   // ranks 2 and 3
	inner := middle.view(3, 1, 0)   // 3 and 2
	beside := j.view(4, 2, 3, 1, 0) // the same ranks, and others
	var parts []part
	for i, v := range []*job{inner, middle, beside} {
		body := payload(uint64(i), 200+i)
		parts = append(parts, v.send(0, 1, 7, body), v.recv(1, 0, 7, body))
	}
	for r, want := range []transport.Rank{3, 2} {
		require.Equal(j, want, transport.Joined(inner.ranks[0], transport.Rank(r)))
	}
	j.together(append(parts, inner.works(1, 0))...)
	j.together(func(parent context.Context) error {
		ctx, cancel := context.WithTimeout(parent, soon)
		defer cancel()
		_, err := inner.ranks[1].Recv(ctx, 0, 1)
		return isFault(err, context.DeadlineExceeded, 3)
	})
}

func testViewClose(j *job) {
	v := j.view(1, 0, 1)
	require.NoError(j, v.ranks[0].Close())
	require.NoError(j, v.ranks[0].Close())
	j.together(v.works(0, 1), j.works(0, 1))
}

func testViewRefusals(j *job) {
	refused := func(t transport.Transport, channel uint16, members ...transport.Rank) {
		j.Helper()
		_, err := transport.Sub(t, channel, members)
		require.Error(j, err)
	}
	refused(j.ranks[0], 0, 0, 1)
	refused(j.ranks[0], 1, 1, 2)
	refused(j.ranks[0], 1, 0, 0)
	refused(j.ranks[0], 1, 0, 3)
	refused(j.ranks[0], 1, 0, -1)
	refused(j.view(1, 0, 1).ranks[0], 1, 0, 1)
	refused(j.view(1, 0, 1).ranks[0], 2, 0, 2)
}

func testViewTags(j *job) {
	var parts []part
	for i, channel := range []uint16{1, 1<<16 - 1} {
		v := j.view(channel, 0, 1)
		for k, tag := range []transport.Tag{0, 1 << 31, 1<<transport.TagBits - 1} {
			body := payload(uint64(10*i+k), 100)
			parts = append(parts, v.send(0, 1, tag, body), v.recv(1, 0, tag, body))
		}
	}
	j.together(parts...)
}

func testViewAbilities(j *job) {
	v := j.view(3, 2, 0)
	require.Equal(j, transport.CapabilitiesOf(j.ranks[2]), transport.CapabilitiesOf(v.ranks[0]))
	world, ok := j.ranks[2].(transport.Counter)
	if !ok {
		j.Skip("it does not count")
	}
	view, ok := v.ranks[0].(transport.Counter)
	require.True(j, ok, "a view counts what its world counts")
	before := world.WireBytes()
	body := payload(1, 1234)
	j.together(v.send(0, 1, 1, body), v.recv(1, 0, 1, body))
	require.EqualValues(j, len(body), world.WireBytes()-before)
	require.Equal(j, world.WireBytes(), view.WireBytes())
}
