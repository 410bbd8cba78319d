package views

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// open returns the views of each of n ranks.
func open(t *testing.T, n int) []*Views {
	t.Helper()
	list := make([]*Views, n)
	for r, tr := range inproc.New(n) {
		t.Cleanup(func() { _ = tr.Close() })
		list[r] = New(tr)
	}
	return list
}

// each runs do for every rank at the same time.
func each(list []*Views, do func(i int, v *Views) error) []error {
	errs, ranks := make([]error, len(list)), sync.WaitGroup{}
	for i, v := range list {
		ranks.Go(func() { errs[i] = do(i, v) })
	}
	ranks.Wait()
	return errs
}

// made is one view that a rank has made.
type made struct {
	channel uint16
	members string // as they joined, in the order of the view
}

// watched are the channels of one rank's views, and the streams of its worlds.
type watched struct {
	made    []made
	streams map[lockstep.StreamID]string
}

// plan is what the ranks of a world do: the same on each of them.
type plan struct {
	views  int     // of all ranks, made before the groups
	groups [][]int // one call of Group
	of     []*plan // what the ranks of each of the groups do
	after  int     // views, made after them
	next   *plan   // and then
}

// randomPlan has groups of groups to the given depth.
func randomPlan(rng *rand.Rand, size, depth int) *plan {
	p := &plan{views: rng.IntN(40), after: rng.IntN(5)}
	if depth == 0 {
		return p
	}
	ranks := rng.Perm(size)
	for len(ranks) > 0 {
		n := 1 + rng.IntN(len(ranks))
		if rng.IntN(4) > 0 { // else these are in none
			p.groups = append(p.groups, ranks[:n])
			p.of = append(p.of, randomPlan(rng, n, depth-1))
		}
		ranks = ranks[n:]
	}
	if rng.IntN(2) == 0 {
		p.next = randomPlan(rng, size, depth-1)
	}
	return p
}

// run does what a plan says on one rank, and notes the channels.
func (w *watched) run(v *Views, p *plan) error {
	for ; p != nil; p = p.next {
		if err := w.all(v, p.views); err != nil {
			return err
		}
		if err := w.group(v, p); err != nil {
			return err
		}
		if err := w.all(v, p.after); err != nil {
			return err
		}
	}
	return nil
}

func (w *watched) all(v *Views, n int) error {
	for range n {
		stream := v.Next()
		if _, err := v.All(); err != nil {
			return err
		}
		w.note(v, uint16(v.free-1), stream)
	}
	return nil
}

func (w *watched) group(v *Views, p *plan) error {
	var members []transport.Rank
	var then *plan
	for i, g := range p.groups {
		if slices.Contains(g, int(v.Rank())) {
			for _, r := range g {
				members = append(members, transport.Rank(r))
			}
			then = p.of[i]
		}
	}
	first := v.control == nil
	g, err := v.Group(members)
	if err != nil {
		return err
	}
	if first {
		w.note(v, uint16(v.free-1), v.Next()-1)
	}
	if g == nil {
		return nil
	}
	w.note(g, uint16(g.free-1), g.Next()-1)
	return w.run(g, then)
}

func (w *watched) note(v *Views, channel uint16, stream lockstep.StreamID) {
	w.made = append(w.made, made{channel, fmt.Sprint(v.members)})
	w.streams[stream] = fmt.Sprint(v.members, channel)
}

// TestViewsThatShareRanksHaveTheirOwnChannels, in random groups of groups: no rank has two views of
// one channel, the ranks of a view have it under the same, and streams that differ.
func TestViewsThatShareRanksHaveTheirOwnChannels(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	jobs := 20
	if testing.Short() {
		jobs = 4
	}
	for range jobs {
		list := open(t, 8)
		notes := make([]watched, len(list))
		p := randomPlan(rng, len(list), 4)
		for _, err := range each(list, func(i int, v *Views) error {
			notes[i].streams = map[lockstep.StreamID]string{}
			return notes[i].run(v, p)
		}) {
			require.NoError(t, err)
		}
		checkChannels(t, notes)
	}
}

// checkChannels compares all pairs of ranks.
func checkChannels(t *testing.T, notes []watched) {
	t.Helper()
	for i, a := range notes {
		channels := map[uint16]bool{}
		for _, m := range a.made {
			require.False(t, channels[m.channel], "rank %d has channel %d twice", i, m.channel)
			require.NotZero(t, m.channel)
			channels[m.channel] = true
		}
		require.Len(t, a.streams, len(a.made), "streams are their own")
		for k, b := range notes {
			for _, m := range a.made {
				if includes(m.members, k) {
					require.Contains(t, b.made, m, "ranks %d and %d", i, k)
				}
			}
			for id, of := range a.streams {
				if other, ok := b.streams[id]; ok {
					require.Equal(t, of, other, "one stream is of one group, on ranks %d and %d", i, k)
				}
			}
		}
	}
}

func includes(members string, r int) bool {
	return slices.Contains([]byte(members), byte('0'+r))
}

// TestViewsOfGroupsCarryMessages between their own ranks, under the numbers of the group.
func TestViewsOfGroupsCarryMessages(t *testing.T) {
	list := open(t, 4)
	for _, err := range each(list, func(i int, v *Views) error {
		if i == 2 {
			g, err := v.Group(nil)
			require.Nil(t, g)
			return err
		}
		g, err := v.Group([]transport.Rank{3, 0, 1})
		if err != nil {
			return err
		}
		inner, err := g.Group([]transport.Rank{0, 2}) // ranks 3 and 1
		if err != nil || i == 0 {
			require.Nil(t, inner)
			return err
		}
		require.Equal(t, "3 1", inner.String())
		require.Equal(t, transport.Rank(3), inner.Joined(0))
		require.Equal(t, []int{0, 1}, inner.Nodes([]int{5, 6, 7, 8}))
		view, err := inner.All()
		if err != nil {
			return err
		}
		other, got := 1-view.Rank(), make([]byte, 1)
		err = transport.Exchange(t.Context(), view,
			[]transport.Message{{Peer: other, Bufs: [][]byte{{byte(i)}}}},
			[]transport.Message{{Peer: other, Bufs: [][]byte{got}}})
		require.Equal(t, byte(4-i), got[0])
		return err
	}) {
		require.NoError(t, err)
	}
}

// TestGroupsOfOtherOpinions: every rank gets the same error, and the next groups can be made.
func TestGroupsOfOtherOpinions(t *testing.T) {
	const none = -1
	for want, lists := range map[string][3][]transport.Rank{
		"rank 1: Group: ranks disagree about the job: it gives ranks 1 2, rank 0 gives ranks 0 1":    {{0, 1}, {1, 2}, {1, 2}},
		"rank 1: Group: ranks disagree about the job: it gives no group, rank 0 gives ranks 0 1":     {{0, 1}, {2}, nil},
		"rank 2: Group: ranks disagree about the job: it gives ranks 2 0, rank 0 gives ranks 0 2":    {{0, 2}, nil, {2, 0}},
		"rank 1: Group: ranks disagree about the job: its list has 3, which is outside 0..2":         {nil, {1, 3}, nil},
		"rank 0: Group: ranks disagree about the job: its list has -1, which is outside 0..2":        {{0, none}, nil, nil},
		"rank 2: Group: ranks disagree about the job: its list has 2, which is outside 0..2 or list": {nil, nil, {2, 2, 2, 2, 2}},
	} {
		list := open(t, 3)
		for _, err := range each(list, func(i int, v *Views) error {
			_, err := v.Group(lists[i])
			return err
		}) {
			require.ErrorIs(t, err, transport.ErrMismatch)
			require.ErrorContains(t, err, want)
		}
		for _, err := range each(list, func(_ int, v *Views) error {
			g, err := v.Group([]transport.Rank{0, 1, 2})
			require.Equal(t, 3, g.Size())
			return err
		}) {
			require.NoError(t, err)
		}
	}
}

// TestGroupsAreFew: their views and those of the world share 16 bits. All ranks of a group, which
// may be full on one of them alone, get the error.
func TestGroupsAreFew(t *testing.T) {
	list := open(t, 2)
	for i, err := range each(list, func(i int, v *Views) error {
		g, err := v.Group([]transport.Rank{0, 1})
		if err != nil {
			return err
		}
		if i == 0 {
			v.channels.next = math.MaxUint16 - 1 // 65534 and 65535 are left
		}
		for range block - 1 {
			if _, err := g.All(); err != nil {
				return err
			}
		}
		for range 2 {
			if _, err := g.All(); err != nil {
				return err
			}
		}
		_, err = g.All()
		require.ErrorContains(t, err, "no view is left")
		_, err = g.Group([]transport.Rank{0, 1})
		return err
	}) {
		require.ErrorContains(t, err, "no view is left: a rank has at most 65535", "rank %d", i)
	}
}

// TestOneGoroutineMakesViews: another one gets an error at once.
func TestOneGoroutineMakesViews(t *testing.T) {
	v := open(t, 1)[0]
	v.channels.busy.Lock()
	_, err := v.All()
	require.ErrorIs(t, err, lifecycle.ErrInUse)
	v.channels.busy.Unlock()
	g, err := v.Group([]transport.Rank{0})
	require.NoError(t, err)
	v.channels.busy.Lock()
	_, err = v.Group([]transport.Rank{0})
	require.ErrorIs(t, err, lifecycle.ErrInUse)
	g.free = g.end
	_, err = g.All()
	require.ErrorIs(t, err, lifecycle.ErrInUse)
}

// FuzzProposal reads any proposal.
func FuzzProposal(f *testing.F) {
	f.Add(proposal{next: 3, members: []transport.Rank{2, 0, -1, 1 << 20}}.encode())
	f.Add([]byte{})
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decode(b)
		if err != nil {
			require.ErrorIs(t, err, transport.ErrProtocol)
			return
		}
		again, err := decode(p.encode())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
