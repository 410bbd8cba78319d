package transport_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(_ *testing.T, n int) []transport.Transport {
	ranks := make([]transport.Transport, n)
	for r, t := range inproc.New(n) {
		ranks[r] = t
	}
	return ranks
}

func TestViews(t *testing.T) { transporttest.RunViews(t, open) }

// TestViewOfAll: the view of all ranks keeps the whole contract, but for Close, which is the
// world's.
func TestViewOfAll(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		ranks := open(t, n)
		members := make([]transport.Rank, n)
		for i := range members {
			members[i] = transport.Rank(i)
		}
		for i, world := range ranks {
			view, err := transport.Sub(world, 7, members)
			require.NoError(t, err)
			ranks[i] = closing{view, world}
		}
		return ranks
	})
}

// closing is a view whose Close closes the world.
type closing struct {
	transport.Transport
	world transport.Transport
}

func (c closing) Close() error { return c.world.Close() }

func (c closing) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	return transport.Exchange(ctx, c.Transport, sends, recvs)
}

func (c closing) Capabilities() transport.Capabilities { return transport.CapabilitiesOf(c.Transport) }
func (c closing) WireBytes() uint64                    { return c.Transport.(transport.Counter).WireBytes() }

// TestExchangeByGoroutines: a transport that is no Exchanger keeps the contract too.
func TestExchangeByGoroutines(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		ranks := open(t, n)
		for i, r := range ranks {
			ranks[i] = struct{ transport.Transport }{r}
		}
		return ranks
	})
}

// TestAViewOfWrongMembersIsRefused, by an error that states which ranks there are.
func TestAViewOfWrongMembersIsRefused(t *testing.T) {
	end := inproc.New(1)[0]
	defer end.Close()
	for _, wrong := range []transport.Rank{transport.None, 0, 1} {
		_, err := transport.Sub(end, 1, []transport.Rank{0, wrong})
		require.EqualError(t, err, fmt.Sprintf(
			"transport: Sub: member %d is outside 0..0 or listed twice in [0 %[1]d]", wrong))
	}
}

// nested returns a view of a rank that is alone in a job, of a view of a view.
func nested(tb testing.TB, depth int) transport.Transport {
	tb.Helper()
	end := inproc.New(1)[0]
	tb.Cleanup(func() { _ = end.Close() })
	view := transport.Transport(end)
	for channel := range depth {
		var err error
		view, err = transport.Sub(view, uint16(channel+1), []transport.Rank{0})
		require.NoError(tb, err)
	}
	return view
}

// exchange returns what sends one message through a view and receives it.
func exchange(tb testing.TB, view transport.Transport) func() {
	out, in := make([]byte, 64), make([]byte, 64)
	sends := []transport.Message{{Bufs: [][]byte{out}}}
	recvs := []transport.Message{{Bufs: [][]byte{in}}}
	return func() {
		if err := transport.Exchange(context.Background(), view, sends, recvs); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestAViewOfAViewCostsWhatAViewDoes: it allocates as often.
func TestAViewOfAViewCostsWhatAViewDoes(t *testing.T) {
	want := alloctest.Least(100, exchange(t, nested(t, 1)))
	require.Equal(t, want, alloctest.Least(100, exchange(t, nested(t, 4))))
}

func BenchmarkView(b *testing.B) {
	for _, depth := range []int{1, 4} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			run := exchange(b, nested(b, depth))
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
