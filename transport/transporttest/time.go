package transporttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

var timeClaims = []claim{
	{"RecvDeadline", "a receive ends when the deadline of its ctx passes, and names the rank it waited for", 2, testRecvDeadline},
	{"RecvCancel", "a cancelled receive leaves the transport as it was", 2, testRecvCancel},
	{"SendDeadline", "a send without a receive ends when the deadline of its ctx passes", 2, testSendDeadline},
	{"SendCancel", "a send without a receive ends when its ctx is cancelled", 2, testSendCancel},
	{"CancelledAndCalledAgain", "what cancelled calls waited for is received whole and in order by later ones", 2, testCancelAndAgain},
	{"EndedContext", "a call whose ctx has ended before it does nothing and leaves the transport as it was", 2, testEndedContext},
	{"OwnershipAfterCancel", "after a cancelled receive its buffers are the caller's, and the message is the next one's", 2, testOwnership},
}

func testRecvDeadline(j *job) {
	j.together(func(parent context.Context) error {
		ctx, cancel := context.WithTimeout(parent, soon)
		defer cancel()
		_, err := j.ranks[0].Recv(ctx, 1, 3, make([]byte, 100))
		return isFault(err, context.DeadlineExceeded, 1)
	})
	j.together(j.works(0, 1))
}

func testRecvCancel(j *job) {
	j.together(func(parent context.Context) error {
		ctx, cancel := context.WithCancel(parent)
		return all(
			func(context.Context) error {
				_, err := j.ranks[0].Recv(ctx, 1, 3, make([]byte, 100))
				return isFault(err, context.Canceled, 1)
			},
			func(context.Context) error { cancel(); return nil },
		)(parent)
	})
	j.together(j.works(0, 1))
}

// testSendDeadline sends until the transport's buffers are full. A part of the last message may
// have moved then, so later calls are not tested.
func testSendDeadline(j *job) {
	const limit = 1 << 10 // a transport that buffers this many MiB is not bounded
	body := make([]byte, 1<<20)
	j.together(func(parent context.Context) error {
		for range limit {
			ctx, cancel := context.WithTimeout(parent, 5*soon)
			err := j.ranks[0].Send(ctx, 1, 3, body)
			cancel()
			if err != nil {
				clear(body)
				return isFault(err, context.DeadlineExceeded, 1)
			}
		}
		return fmt.Errorf("%d MiB of unexpected messages have been sent", limit)
	})
}

func testEndedContext(j *job) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	t := j.ranks[0]
	body := payload(1, 10)
	j.together(func(context.Context) error {
		_, err := t.Recv(ctx, 1, 4711, body)
		return errors.Join(
			isFault(t.Send(ctx, 1, 4711, body), context.Canceled, 1),
			isFault(err, context.Canceled, 1),
			isFault(transport.Exchange(ctx, t, []transport.Message{message(1, 4711, body)}, nil), context.Canceled, 1),
			isFault(transport.Exchange(ctx, t, nil, []transport.Message{message(1, 4711, body)}), context.Canceled, 1),
			isFault(t.Send(ctx, 0, 4711, body), context.Canceled, 0))
	})
	j.together(j.works(0, 1), inOrder(j.send(0, 0, 4711, body), j.recv(0, 0, 4711, body)))
}

// testOwnership races a cancellation with the message in each round. In either case the message is
// received once, and a returned buffer is not written to: the test overwrites it, and the race
// detector detects another write.
func testOwnership(j *job) {
	const rounds, size = 300, 64
	var sends []part
	for i := range rounds {
		sends = append(sends, j.send(1, 0, 3, payload(uint64(i), size)), j.recv(1, 0, 4, nil))
	}
	errStop := errors.New("broken in the middle of a message, which is legal")
	err := error(nil)
	j.together(
		func(ctx context.Context) error {
			// If rank 0 breaks the transport, which is legal, it is to blame here too.
			if e := inOrder(sends...)(ctx); e != nil && transport.CulpritOf(e) != 0 {
				return e
			}
			return nil
		},
		func(ctx context.Context) error {
			for i := range rounds {
				if err = j.raceCancel(ctx, payload(uint64(i), size), errStop); err != nil {
					break
				}
				if err = j.send(0, 1, 4, nil)(ctx); err != nil {
					break
				}
			}
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		})
}

func (j *job) raceCancel(parent context.Context, want []byte, errStop error) error {
	ctx, cancel := context.WithCancel(parent)
	go cancel()
	room := make([]byte, len(want))
	n, err := j.ranks[0].Recv(ctx, 1, 3, room)
	if err == nil {
		return same(room[:n], want)
	}
	clear(room)
	// a rank that cancels half a message is to blame
	if isFault(err, context.Canceled, 0) == nil {
		if _, again := j.ranks[0].Recv(parent, 1, 3, room); again == nil {
			return fmt.Errorf("rank 0 goes on after %w", err)
		}
		return fmt.Errorf("%w: %w", errStop, err)
	}
	if err := isFault(err, context.Canceled, 1); err != nil {
		return err
	}
	err = j.recv(0, 1, 3, want)(parent)
	if errors.Is(err, context.Canceled) && parent.Err() == nil {
		return fmt.Errorf("%w: %w", errStop, err)
	}
	if err == nil {
		return same(room, make([]byte, len(room)))
	}
	return err
}

func testSendCancel(j *job) {
	const limit = 1 << 10 // as in testSendDeadline
	j.together(func(parent context.Context) error {
		ctx, cancel := context.WithCancel(parent)
		timer := time.AfterFunc(5*soon, cancel)
		defer timer.Stop()
		for range limit {
			if err := j.ranks[0].Send(ctx, 1, 3, make([]byte, 1<<20)); err != nil {
				// The rank that cancels half a message may be to blame.
				return errors.Join(isFault(err, context.Canceled, transport.CulpritOf(err)), inPair(err))
			}
		}
		return fmt.Errorf("%d MiB of unexpected messages have been sent", limit)
	})
}

func inPair(err error) error {
	if r := transport.CulpritOf(err); r != 0 && r != 1 {
		return fmt.Errorf("%q blames rank %d, which has no part in it", err, r)
	}
	return nil
}

// testCancelAndAgain cancels receives and exchanges before anything has been sent, so that no byte
// has moved, and then receives messages.
func testCancelAndAgain(j *job) {
	const rounds = 5
	t := j.ranks[0]
	cancelled := func(parent context.Context, call func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(parent, soon/10)
		defer cancel()
		return isFault(call(ctx), context.DeadlineExceeded, 1)
	}
	j.together(func(ctx context.Context) error {
		for range rounds {
			room := [][]byte{make([]byte, 4000), make([]byte, 4000), make([]byte, 4000)}
			recvs := []transport.Message{message(1, 3, room[0]), message(1, 3, room[1]), message(1, 4, room[2])}
			err := errors.Join(
				cancelled(ctx, func(ctx context.Context) error { _, err := t.Recv(ctx, 1, 3, room[0]); return err }),
				cancelled(ctx, func(ctx context.Context) error { return transport.Exchange(ctx, t, nil, recvs) }))
			for _, b := range room {
				clear(b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	var sends, recvs []part
	for i := range rounds {
		body := payload(uint64(i), 1000*i)
		sends = append(sends, j.send(1, 0, 3, body), j.send(1, 0, 4, body))
		recvs = append(recvs, j.recv(0, 1, 3, body), j.recv(0, 1, 4, body))
	}
	j.together(inOrder(sends...), inOrder(recvs...))
}
