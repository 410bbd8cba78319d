package striped

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// TestLinksChosen tries the states of the queues of 2+1 links of 1000 bytes each.
func TestLinksChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &Transport{cfg: Config{Parity: 1, LinkBytes: 1000}.WithDefaults(), k: 2, links: make([]transport.Transport, 3)}
		o := newOutbox(tr, 1)
		choose := func(bytes ...int) ([]int, bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			for i, n := range bytes {
				o.queues[i].bytes = n
			}
			return o.choose(nil, 100)
		}
		refuse := func(bytes ...int) {
			t.Helper()
			_, ok := choose(bytes...)
			require.False(t, ok)
		}
		accept := func(want []int, bytes ...int) {
			t.Helper()
			got, ok := choose(bytes...)
			require.True(t, ok)
			require.Equal(t, want, got)
		}
		accept([]int{0, 1, 2}, 0, 500, 700)
		refuse(0, 900, 900)      // only one has drained
		refuse(0, 501, 900)      // two have room, but have not drained
		time.Sleep(2 * lagGrace) // sleep-ok: on the bubble's clock
		refuse(0, 501, 900)
		refuse(0, 500, 900)      // the grace begins
		time.Sleep(2 * lagGrace) // sleep-ok: on the bubble's clock
		<-o.changed
		accept([]int{0, 1}, 0, 501, 900) // it is over
		accept([]int{0, 1, 2}, 0, 0, 700)
		accept([]int{0, 1}, 0, 0, 900)
		refuse(900, 0, 900)

		q := o.queues[2]
		q.bytes = 200
		frame := func(n int) *buffer {
			return tr.frame(header{kind: kindStripe}, make([]byte, n-headerBytes-stripeOverhead))
		}
		q.sent(frame(192), false)
		require.True(t, q.lags)
		q.bytes = 192
		q.sent(frame(192), false)
		require.False(t, q.lags, "it has caught up")
		refuse(0, 0, 900)

		o.drop(2)
		accept([]int{0, 1}, 0, 0, 0)
		o.queues[0].bytes = 5
		require.Equal(t, []int{1, 0}, o.chooseFew([]int{0, 1}))
	})
}

// TestTruncatedCopies: several copies of a message that is too long arrive, and none of them is
// received.
func TestTruncatedCopies(t *testing.T) {
	for range 200 {
		ends := open(t, 2, 4, small(3), nil)
		room := make([]byte, 99)
		done := make(chan error, 1)
		go func() { done <- ends[0].Send(context.Background(), 1, 3, make([]byte, 100)) }()
		_, err := ends[1].Recv(context.Background(), 0, 3, room)
		require.ErrorIs(t, err, transport.ErrTruncated)
		require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
		<-done
		closeEnds(ends)
	}
}
