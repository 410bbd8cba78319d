package faulty_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// exchange lets two ranks exchange count messages of each of three tags, one message in five
// delayed, and returns the faults of the first.
func exchange(t *testing.T, seed uint64) []faulty.Record {
	const count = 50
	rules := []faulty.Rule{{Fault: faulty.Delay(0, time.Microsecond), Chance: 0.2}}
	ranks := open(2, faulty.Config{Seed: seed, Rules: rules})
	var wg sync.WaitGroup
	for _, r := range ranks {
		wg.Go(func() {
			var sends, recvs []transport.Message
			for i := range count * 3 {
				m := transport.Message{Peer: 1 - r.Rank(), Tag: transport.Tag(i % 3), Bufs: [][]byte{make([]byte, 1)}}
				sends = append(sends, m)
				m.Bufs = [][]byte{make([]byte, 1)}
				recvs = append(recvs, m)
			}
			if err := transport.Exchange(t.Context(), r, sends, recvs); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range ranks {
		require.NoError(t, r.Close())
	}
	a := ranks[0].(*faulty.Transport)
	list := a.Faults()
	require.Equal(t, len(list), a.Count(faulty.KindDelay))
	require.InDelta(t, 0.2*2*3*count, len(list), 35) // five standard deviations
	return list
}

// TestChanceIsOfTheSeed: the faults do not depend on the order in which goroutines run.
func TestChanceIsOfTheSeed(t *testing.T) {
	first := exchange(t, 1)
	require.ElementsMatch(t, first, exchange(t, 1))
	require.NotEqual(t, len(first), 0)
	other := exchange(t, 2)
	require.NotSubset(t, first, other)
}

func TestFirstRuleThatAppliesCounts(t *testing.T) {
	ranks := inproc.New(1)
	var seen []faulty.Op
	r := faulty.New(ranks[0], faulty.Config{Rules: []faulty.Rule{
		{Fault: faulty.Fail(nil), When: func(o faulty.Op) bool { seen = append(seen, o); return false }},
		{Fault: faulty.Corrupt(1), Times: 1, When: sends(5)},
		{Fault: faulty.Delay(0, 0), When: sends(5)},
	}})
	for range 3 {
		require.NoError(t, r.Send(t.Context(), 0, 5, []byte("ab"), []byte("c")))
		_, err := r.Recv(t.Context(), 0, 5, make([]byte, 4))
		require.NoError(t, err)
	}
	require.Equal(t, faulty.Op{Dir: faulty.Send, Tag: 5, Seq: 1, N: 1, Size: 3}, seen[0])
	require.Equal(t, faulty.Op{Dir: faulty.Recv, Tag: 5, Seq: 1, N: 2, Size: 4}, seen[1])
	require.Equal(t, faulty.Op{Dir: faulty.Send, Tag: 5, Seq: 3, N: 5, Size: 3}, seen[4])
	require.Equal(t, []faulty.Record{
		{Kind: faulty.KindCorrupt, Rule: 1, Op: seen[0]},
		{Kind: faulty.KindDelay, Rule: 2, Op: seen[2]},
		{Kind: faulty.KindDelay, Rule: 2, Op: seen[4]},
	}, r.Faults())
	require.NoError(t, r.Close())
}

func TestWords(t *testing.T) {
	o := faulty.Op{Rank: 2, Dir: faulty.Recv, Peer: 0, Tag: 5, Seq: 3, N: 17, Size: 128}
	require.Equal(t, "rank 2: op 17: recv #3 from rank 0, tag 5, 128 bytes", o.String())
	require.Equal(t, "reorder", faulty.Reorder(1).Kind().String())
	require.Equal(t, "kind 99", faulty.Kind(99).String())
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, faulty.Config{}.Validate())
	bad := faulty.Config{Rules: []faulty.Rule{
		{Fault: faulty.Delay(2, 1)}, {Fault: faulty.Corrupt(0)}, {Fault: faulty.Stall(nil)},
		{Fault: faulty.Drop(), Chance: 1.5}, {Fault: faulty.Drop(), Times: -1},
	}}
	err := bad.Validate()
	for _, part := range []string{"Rules[0]", "Rules[1]", "Rules[2]", "Rules[3].Chance", "Rules[4].Times"} {
		require.ErrorContains(t, err, part)
	}
	require.Panics(t, func() { faulty.New(inproc.New(1)[0], bad) })
}

func TestCapabilities(t *testing.T) {
	r := open(2, faulty.Config{})[0]
	require.Equal(t, transport.Capabilities{Name: "faulty(inproc)", SurvivesPeerLoss: true}, transport.CapabilitiesOf(r))
}
