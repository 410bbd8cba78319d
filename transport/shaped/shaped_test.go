package shaped_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	ms     = time.Millisecond
	mega   = 1_000_000
	rate   = 100 * mega // bytes a second: a megabyte takes 10 ms
	oneWay = 3 * ms
)

// open is a job of n ranks, each behind a link of its own.
func open(n int, c shaped.Config) []transport.Transport {
	ranks := make([]transport.Transport, n)
	for r, t := range inproc.New(n) {
		ranks[r] = shaped.New(t, c)
	}
	return ranks
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]shaped.Config{
		"Unlimited": {},
		"AllPeers":  {Bandwidth: 2000 * mega, Burst: mega / 10, Latency: ms, Jitter: ms},
		"SomePeers": {Bandwidth: 2000 * mega, Latency: ms, Link: func(peer transport.Rank) bool { return peer%2 == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "SomePeers" {
				t.Skip("SomePeers goes all ways")
			}
			t.Parallel()
			open := func(_ *testing.T, n int) []transport.Transport { return open(n, c) }
			transporttest.Run(t, open)
			t.Run("Watched", func(t *testing.T) { transporttest.RunWatched(t, open) })
		})
	}
}

// noError is require.NoError for goroutines, which must not end a test.
func noError(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// inBubble runs test on n ranks in virtual time.
func inBubble(t *testing.T, n int, c shaped.Config, test func(t *testing.T, ranks []transport.Transport)) {
	synctest.Test(t, func(t *testing.T) {
		ranks := open(n, c)
		test(t, ranks)
		for _, r := range ranks {
			require.NoError(t, r.Close())
		}
	})
}

// sendAll sends the messages one after the other, in a goroutine of its own.
func sendAll(t *testing.T, from transport.Transport, to transport.Rank, sizes ...int) {
	go func() {
		for _, n := range sizes {
			noError(t, from.Send(t.Context(), to, 1, make([]byte, n)))
		}
	}()
}

// recvAt receives a message of size bytes and requires that it arrives at the time at, counted from
// start.
func recvAt(t *testing.T, r transport.Transport, from transport.Rank, size int, start time.Time, at time.Duration) {
	t.Helper()
	n, err := r.Recv(t.Context(), from, 1, make([]byte, size))
	require.NoError(t, err)
	require.Equal(t, size, n)
	require.Equal(t, at, time.Since(start))
}

func TestMessagesLeaveAtTheRateAndArriveLater(t *testing.T) {
	inBubble(t, 2, shaped.Config{Bandwidth: rate, Latency: oneWay}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		sendAll(t, ranks[0], 1, mega, mega, mega, mega)
		for i := range 4 {
			recvAt(t, ranks[1], 0, mega, start, time.Duration(i+1)*10*ms+oneWay)
		}
	})
}

// TestLatencyDoesNotSlowTheLink: a message under way does not delay the next, for any latency.
func TestLatencyDoesNotSlowTheLink(t *testing.T) {
	const long = time.Second
	inBubble(t, 2, shaped.Config{Bandwidth: rate, Latency: long}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		sendAll(t, ranks[0], 1, mega, mega, mega, mega)
		for i := range 4 {
			recvAt(t, ranks[1], 0, mega, start, time.Duration(i+1)*10*ms+long)
		}
	})
}

func TestSendReturnsWithTheDeparture(t *testing.T) {
	inBubble(t, 2, shaped.Config{Bandwidth: rate, Latency: oneWay}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		for i := range 3 {
			require.NoError(t, ranks[0].Send(t.Context(), 1, 1, make([]byte, mega/2)))
			require.Equal(t, time.Duration(i+1)*5*ms, time.Since(start))
		}
	})
}

func TestPeersShareTheCard(t *testing.T) {
	inBubble(t, 3, shaped.Config{Bandwidth: rate}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		body := make([]byte, mega)
		sends := []transport.Message{{Peer: 1, Tag: 1, Bufs: [][]byte{body}}, {Peer: 2, Tag: 1, Bufs: [][]byte{body}}}
		go func() { noError(t, transport.Exchange(t.Context(), ranks[0], sends, nil)) }()
		recvAt(t, ranks[1], 0, mega, start, 10*ms)
		recvAt(t, ranks[2], 0, mega, start, 20*ms)
	})
}

// TestAllToAllTakesOneCardsTime: cards work at the same time, and a message to oneself takes no
// time.
func TestAllToAllTakesOneCardsTime(t *testing.T) {
	const n = 4
	inBubble(t, n, shaped.Config{Bandwidth: rate, Latency: oneWay}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		took := make(chan time.Duration, n)
		for _, r := range ranks {
			go func() {
				var sends, recvs []transport.Message
				for i := range transport.Rank(n) {
					peer := (r.Rank() + i) % n
					sends = append(sends, transport.Message{Peer: peer, Tag: 1, Bufs: [][]byte{make([]byte, mega)}})
					recvs = append(recvs, transport.Message{Peer: peer, Tag: 1, Bufs: [][]byte{make([]byte, mega)}})
				}
				noError(t, transport.Exchange(t.Context(), r, sends, recvs))
				took <- time.Since(start)
			}()
		}
		for range n {
			require.Equal(t, (n-1)*10*ms+oneWay, <-took)
		}
	})
}

func TestOnlyPeersBehindTheLinkAreSlow(t *testing.T) {
	c := shaped.Config{Bandwidth: rate, Latency: oneWay, Link: func(p transport.Rank) bool { return p == 2 }}
	inBubble(t, 3, c, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		sendAll(t, ranks[0], 2, mega)
		sendAll(t, ranks[0], 1, mega)
		recvAt(t, ranks[1], 0, mega, start, 0)
		recvAt(t, ranks[2], 0, mega, start, 10*ms+oneWay)
		require.EqualValues(t, 2*mega, ranks[0].(*shaped.Transport).WireBytes())
	})
}

func TestBurst(t *testing.T) {
	inBubble(t, 2, shaped.Config{Bandwidth: rate, Burst: mega / 2}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		sendAll(t, ranks[0], 1, mega/2, mega, mega/2)
		recvAt(t, ranks[1], 0, mega/2, start, 0)
		recvAt(t, ranks[1], 0, mega, start, 10*ms)
		recvAt(t, ranks[1], 0, mega/2, start, 15*ms)
		time.Sleep(2 * ms) // sleep-ok: on the bubble's clock; the bucket is 0.2 MB full
		start = time.Now()
		sendAll(t, ranks[0], 1, mega/2)
		recvAt(t, ranks[1], 0, mega/2, start, 3*ms)
	})
}

// TestSmallMessagesTakeAsLongAsALargeOne: no fraction of a nanosecond is lost.
func TestSmallMessagesTakeAsLongAsALargeOne(t *testing.T) {
	inBubble(t, 2, shaped.Config{Bandwidth: 7 * mega}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		for range 7000 {
			require.NoError(t, ranks[0].Send(t.Context(), 1, 1, make([]byte, 10)))
			_, err := ranks[1].Recv(t.Context(), 0, 1, make([]byte, 10))
			require.NoError(t, err)
		}
		require.InDelta(t, 10*ms, time.Since(start), float64(7*time.Microsecond))
	})
}

func TestJitterIsOfTheSeed(t *testing.T) {
	arrivals := func(seed uint64) (at []time.Duration) {
		c := shaped.Config{Latency: oneWay, Jitter: 2 * ms, Seed: seed}
		inBubble(t, 2, c, func(t *testing.T, ranks []transport.Transport) {
			for range 50 {
				start := time.Now()
				sendAll(t, ranks[0], 1, 1)
				_, err := ranks[1].Recv(t.Context(), 0, 1, make([]byte, 1))
				require.NoError(t, err)
				at = append(at, time.Since(start))
			}
		})
		return at
	}
	first := arrivals(1)
	require.Equal(t, first, arrivals(1))
	require.NotEqual(t, first, arrivals(2))
	for _, d := range first {
		require.GreaterOrEqual(t, d, oneWay)
		require.LessOrEqual(t, d, oneWay+2*ms)
	}
}

func TestJitterKeepsOrderWithinATag(t *testing.T) {
	inBubble(t, 2, shaped.Config{Latency: oneWay, Jitter: 20 * ms}, func(t *testing.T, ranks []transport.Transport) {
		go func() {
			for i := range byte(100) {
				noError(t, ranks[0].Send(t.Context(), 1, 1, []byte{i}))
			}
		}()
		for i := range byte(100) {
			room := make([]byte, 1)
			_, err := ranks[1].Recv(t.Context(), 0, 1, room)
			require.NoError(t, err)
			require.Equal(t, i, room[0])
		}
	})
}
