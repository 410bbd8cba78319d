package transporttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

var closeClaims = []claim{
	{"Idempotent", "Close may be called again and at once by several goroutines", 2, testCloseIdempotent},
	{"WakesPending", "Close wakes every pending call with ErrClosed", 3, testCloseWakes},
	{"LaterCalls", "every call after Close returns ErrClosed, which is net.ErrClosed", 2, testCallsAfterClose},
	{"DuringTraffic", "Close in the middle of traffic ends every call, at every rank", 3, testCloseDuringTraffic},
	{"SentBeforeIsDelivered", "messages whose Send had returned before Close are still delivered", 2, testDelivered},
	{"SentBeforeIsKept", "a message whose Send had returned before Close can be received after it", 2, testKept},
	{"RecvFromClosed", "a rank that waits for a closed one gets ErrPeerClosed, which names it", 2, testRecvFromClosed},
	{"ExchangeWithClosed", "an exchange that waits for a closed rank gets ErrPeerClosed, which names it", 2, testExchangeWithClosed},
	{"SendToClosed", "a rank that goes on sending to a closed one gets ErrPeerClosed, which names it", 2, testSendToClosed},
	{"SendWaitsForClosing", "so does a rank whose messages wait for it when it closes", 3, testSendWaitsForClosing},
	{"ExchangeWaitsForClosing", "and one whose exchange does", 2, testExchangeWaitsForClosing},
}

func testCloseIdempotent(j *job) {
	j.together(func(context.Context) error {
		var parts []part
		for range 4 {
			for _, t := range j.ranks {
				parts = append(parts, func(context.Context) error { return t.Close() })
			}
		}
		return inOrder(all(parts...), all(parts...))(context.Background())
	})
}

func testCloseWakes(j *job) {
	t := j.ranks[0]
	recv := func(peer transport.Rank, tag transport.Tag) part {
		return func(ctx context.Context) error {
			_, err := t.Recv(ctx, peer, tag, make([]byte, 10))
			return isFault(err, transport.ErrClosed, 0)
		}
	}
	j.together(recv(0, 1), recv(1, 1), recv(1, 1), recv(2, 7),
		func(ctx context.Context) error {
			recvs := []transport.Message{message(1, 5, nil), message(2, 5, nil)}
			return isFault(transport.Exchange(ctx, t, nil, recvs), transport.ErrClosed, 0)
		},
		func(context.Context) error { return t.Close() })
}

func testCallsAfterClose(j *job) {
	t := j.ranks[0]
	j.together(func(ctx context.Context) error {
		err := t.Close()
		_, recv := t.Recv(ctx, 1, 1)
		calls := map[string]error{
			"receive":          recv,
			"send":             t.Send(ctx, 1, 1),
			"send to itself":   t.Send(ctx, 0, 1),
			"exchange":         transport.Exchange(ctx, t, []transport.Message{message(1, 1)}, nil),
			"exchange of recv": transport.Exchange(ctx, t, nil, []transport.Message{message(1, 1)}),
		}
		for call, e := range calls {
			if e := errors.Join(isFault(e, transport.ErrClosed, 0), isFault(e, net.ErrClosed, 0)); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", call, e))
			}
		}
		return err
	})
}

func testDelivered(j *job) {
	sizes := []int{1, 0, 100, 1 << 10, 300_000, 5, 2 << 20, 10}
	var sends, recvs []part
	for i, n := range sizes {
		body := payload(uint64(i), n)
		sends = append(sends, j.send(0, 1, transport.Tag(i%2), body))
		recvs = append(recvs, j.recv(1, 0, transport.Tag(i%2), body))
	}
	sends = append(sends, func(context.Context) error { return j.ranks[0].Close() })
	j.together(inOrder(sends...), inOrder(recvs...))
}

// testKept receives late: once the sender has closed, or, if Send waits for the receiver, after a
// moment.
func testKept(j *job) {
	closed := make(chan struct{})
	body := payload(1, 100)
	var sends, recvs []part
	for range 5 {
		sends = append(sends, j.send(0, 1, 1, body))
		recvs = append(recvs, j.recv(1, 0, 1, body))
	}
	late := func(context.Context) error {
		moment := time.NewTimer(soon)
		defer moment.Stop()
		select {
		case <-closed:
		case <-moment.C:
		}
		return nil
	}
	sends = append(sends, func(context.Context) error {
		defer close(closed)
		return j.ranks[0].Close()
	})
	j.together(inOrder(sends...), inOrder(append([]part{late}, recvs...)...))
}

func testRecvFromClosed(j *job) {
	j.together(
		func(ctx context.Context) error {
			_, err := j.ranks[0].Recv(ctx, 1, 1, make([]byte, 10))
			return isFault(err, transport.ErrPeerClosed, 1)
		},
		func(context.Context) error { return j.ranks[1].Close() })
}

// testSendToClosed sends until it fails: the first messages may be sent before the peer's close is
// known.
func testSendToClosed(j *job) {
	j.together(
		func(ctx context.Context) error {
			for ctx.Err() == nil {
				if err := j.ranks[0].Send(ctx, 1, 1, make([]byte, 1000)); err != nil {
					return isFault(err, transport.ErrPeerClosed, 1)
				}
			}
			return ctx.Err()
		},
		func(context.Context) error { return j.ranks[1].Close() })
}

// testSendWaitsForClosing sends from rank 0 more than any transport holds for a rank that does not
// receive, under several tags, so that some of the messages have begun and others have not when
// that rank closes.
func testSendWaitsForClosing(j *job) {
	parts := []part{j.closesLater(1)}
	for tag := range 4 {
		parts = append(parts, func(ctx context.Context) error {
			body := make([]byte, 8<<20)
			for ctx.Err() == nil {
				if err := j.ranks[0].Send(ctx, 1, transport.Tag(tag), body); err != nil {
					return isFault(err, transport.ErrPeerClosed, 1)
				}
			}
			return ctx.Err()
		})
	}
	j.together(parts...)
}

func testExchangeWaitsForClosing(j *job) {
	body := make([]byte, 8<<20)
	j.together(j.closesLater(1), func(ctx context.Context) error {
		for ctx.Err() == nil {
			sends := []transport.Message{message(1, 2, body, body), message(1, 3, body)}
			if err := transport.Exchange(ctx, j.ranks[0], sends, nil); err != nil {
				return isFault(err, transport.ErrPeerClosed, 1)
			}
		}
		return ctx.Err()
	})
}

// closesLater is the part that closes rank r a moment later, when the others probably wait for it.
// Their result does not depend on that.
func (j *job) closesLater(r int) part {
	return func(context.Context) error {
		<-time.After(soon)
		return j.ranks[r].Close()
	}
}

func testExchangeWithClosed(j *job) {
	j.together(
		func(ctx context.Context) error {
			recvs := []transport.Message{message(0, 2, make([]byte, 10)), message(1, 1, make([]byte, 10))}
			sends := []transport.Message{message(0, 2, payload(1, 10))}
			return isFault(transport.Exchange(ctx, j.ranks[0], sends, recvs), transport.ErrPeerClosed, 1)
		},
		func(context.Context) error { return j.ranks[1].Close() })
}

// testCloseDuringTraffic closes rank 0 while all exchange. Its own calls end with ErrClosed, those
// of the others with ErrPeerClosed that names it, since they only wait for it.
func testCloseDuringTraffic(j *job) {
	under := make(chan struct{}, 1)
	traffic := func(t transport.Transport, tag transport.Tag) part {
		want := transport.ErrPeerClosed
		if t.Rank() == 0 {
			want = transport.ErrClosed
		}
		return func(ctx context.Context) error {
			for round := 0; ; round++ {
				if err := swap(ctx, t, tag, 20_000); err != nil {
					return isFault(err, want, 0)
				}
				if round == 3 {
					select {
					case under <- struct{}{}:
					default:
					}
				}
			}
		}
	}
	parts := []part{func(ctx context.Context) error {
		select {
		case <-under:
		case <-ctx.Done():
		}
		return j.ranks[0].Close()
	}}
	for _, t := range j.ranks {
		parts = append(parts, traffic(t, 1), traffic(t, 2))
	}
	j.together(parts...)
}
