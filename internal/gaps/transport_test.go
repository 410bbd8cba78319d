package gaps_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// slow is a transport whose sends and receives take a time each, and may fail.
type slow struct {
	transport.Transport
	sends, recvs time.Duration
	fails        error // the receives
}

func (s slow) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	took, err := time.Duration(0), error(nil)
	if len(sends) > 0 {
		took = s.sends
	}
	if len(recvs) > 0 {
		took, err = max(took, s.recvs), s.fails
	}
	select {
	case <-time.After(took):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var one = make([]transport.Message, 1)

// TestPiecesBeginWhenRowsAreSent, though others are still to be received. A rank that only receives
// does not keep them waiting.
func TestPiecesBeginWhenRowsAreSent(t *testing.T) {
	for name, c := range map[string]struct {
		sends, recvs []transport.Message
		first        time.Duration // after how long a piece begins
	}{
		"both": {one, one, 2 * time.Second}, "sends": {one, nil, 2 * time.Second}, "receives": {nil, one, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var q gaps.Queue
			tr := q.Transport(slow{sends: 2 * time.Second, recvs: 5 * time.Second})
			q.Begin() // until the exchange has begun
			begin, began := time.Now(), time.Duration(0)
			j := q.Add(pieces(1, func(int) error { began = time.Since(begin); return nil }))
			ended := make(chan error)
			go func() { ended <- transport.Exchange(t.Context(), tr, c.sends, c.recvs) }()
			synctest.Wait()
			q.End()
			require.NoError(t, <-ended)
			if len(c.recvs) > 0 {
				require.Equal(t, 5*time.Second, time.Since(begin), name)
			}
			require.NoError(t, j.Wait(t.Context()))
			require.Equal(t, c.first, began, name)
		})
	}
}

// TestAnExchangeEndsAsAWhole: with the first error of its halves, once both have ended.
func TestAnExchangeEndsAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q gaps.Queue
		broken := errors.New("cable cut")
		tr := q.Transport(slow{sends: time.Hour, recvs: time.Second, fails: broken})
		q.Begin()
		j := q.Add(pieces(1, func(int) error { return nil }))
		begin := time.Now()
		require.Equal(t, broken, transport.Exchange(t.Context(), tr, one, one))
		require.Equal(t, time.Second, time.Since(begin))
		q.End()
		require.NoError(t, j.Wait(t.Context()))
	})
}

// TestTransport passes the conformance suite while there are jobs.
func TestTransport(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		var list []transport.Transport
		for _, tr := range inproc.New(n) {
			var q gaps.Queue
			end := make(chan struct{})
			j := q.Add(pieces(1, func(int) error { <-end; return nil }))
			t.Cleanup(func() {
				close(end)
				require.NoError(t, j.Wait(context.Background()))
			})
			list = append(list, closing{q.Transport(tr), tr})
		}
		return list
	})
}

// closing closes the transport below.
type closing struct {
	transport.Transport
	below transport.Transport
}

func (c closing) Close() error { return c.below.Close() }

func (c closing) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	return transport.Exchange(ctx, c.Transport, sends, recvs)
}
