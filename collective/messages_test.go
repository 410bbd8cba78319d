package collective_test

import (
	"context"
	"math/bits"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// message is what one rank has sent.
type message struct {
	to    transport.Rank
	step  transport.Tag // of the call's 256
	bytes int
}

// recorder is a transport that notes what is sent. It has no other abilities.
type recorder struct {
	transport.Transport
	mu   sync.Mutex
	sent []message
}

func (r *recorder) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	m := message{to: to, step: tag & 0xff}
	for _, b := range bufs {
		m.bytes += len(b)
	}
	r.mu.Lock()
	r.sent = append(r.sent, m)
	r.mu.Unlock()
	return r.Transport.Send(ctx, to, tag, bufs...)
}

// messages returns what each of n ranks sends in one call.
func messages(t *testing.T, n int, call func(ctx context.Context, c *collective.Comm) error) [][]message {
	ranks, sent, errs := inproc.New(n), make([][]message, n), make([]error, n)
	var wg sync.WaitGroup
	for r, rank := range ranks {
		wg.Go(func() {
			defer rank.Close()
			record := &recorder{Transport: rank}
			errs[r] = call(context.Background(), collective.New(record))
			sent[r] = record.sent
		})
	}
	wg.Wait()
	for r, err := range errs {
		require.NoError(t, err, "rank %d of %d", r, n)
	}
	return sent
}

// log2 is the number of steps after which a distance that doubles reaches n.
func log2(n int) int { return bits.Len(uint(n - 1)) }

// TestMessagesOfEachCall are those that the doc comments promise: of all ranks together, their
// bytes, and the number of steps.
func TestMessagesOfEachCall(t *testing.T) {
	const length = 24 // bytes, or elements of float32
	for name, c := range map[string]struct {
		call            func(ctx context.Context, c *collective.Comm) error
		messages, bytes func(n int) int
		steps           func(n int) int
	}{
		"Barrier": {
			func(ctx context.Context, c *collective.Comm) error { return c.Barrier(ctx) },
			func(n int) int { return n * log2(n) },
			func(int) int { return 0 },
			log2,
		},
		"Broadcast": {
			func(ctx context.Context, c *collective.Comm) error {
				return c.Broadcast(ctx, transport.Rank(c.Size()-1), make([]byte, length))
			},
			func(n int) int { return n - 1 },
			func(n int) int { return (n - 1) * length },
			func(int) int { return 1 }, // who sends when depends on messages, not on tags
		},
		"AllReduce": {
			func(ctx context.Context, c *collective.Comm) error { return c.AllReduce(ctx, make([]float32, length)) },
			func(n int) int { return 2 * n * (n - 1) },
			func(n int) int { return 2 * (n - 1) * length * 4 },
			func(int) int { return 2 },
		},
		"AllReduceTree": { // a leaf on each rank
			func(ctx context.Context, c *collective.Comm) error {
				sum := tree.NewSum(length)
				sum.Leaf(int(c.Rank()))
				leaves := slices.Repeat([]int{1}, c.Size())
				return c.AllReduceTree(ctx, leaves, [][]float32{make([]float32, length)}, sum)
			},
			func(n int) int { return 2 * n * (n - 1) },
			func(n int) int { return 2 * (n - 1) * length * 4 },
			func(int) int { return 2 },
		},
		"AllGatherAny": {
			func(ctx context.Context, c *collective.Comm) error {
				_, err := c.AllGatherAny(ctx, make([]byte, length), length) // just as many as are allowed
				return err
			},
			func(n int) int { return 2 * n * (n - 1) },
			func(n int) int { return n * (n - 1) * (8 + length) },
			func(int) int { return 2 },
		},
	} {
		for n := 2; n <= 8; n++ {
			count, bytes, steps := 0, 0, 0
			for r, sent := range messages(t, n, c.call) {
				for _, m := range sent {
					require.NotEqual(t, transport.Rank(r), m.to, "%s: rank %d of %d sends to itself", name, r, n)
					count++
					bytes += m.bytes
					steps = max(steps, int(m.step)+1)
				}
			}
			require.Equal(t, []int{c.messages(n), c.bytes(n), c.steps(n)}, []int{count, bytes, steps}, "%s on %d ranks", name, n)
		}
	}
}
