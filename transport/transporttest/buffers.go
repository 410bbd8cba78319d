package transporttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
)

var bufferClaims = []claim{
	{"Empty", "no buffers, nil buffers and empty buffers make an empty message, delivered like any other", 2, testEmpty},
	{"ScatterGather", "the two sides may cut a message differently", 2, testScatterGather},
	{"ShortMessage", "Recv returns the message's length, which may be less than that of its buffers", 2, testShortMessage},
	{"NothingBeyond", "a receive writes nothing beyond the length of its buffers", 2, testNothingBeyond},
	{"Long", "a message may be longer than 1 GiB", 2, testLong},
	{"ReuseAfterSend", "the sender may overwrite its buffers as soon as Send returns", 2, testReuseAfterSend},
	{"ReuseAfterRecv", "the receiver may overwrite its list of buffers as soon as Recv returns", 2, testReuseAfterRecv},
	{"EmptyAmongOthers", "an empty message keeps its order like any other", 2, testEmptyAmongOthers},
	{"SendChangesNothing", "Send does not change its buffers", 2, testSendChangesNothing},
}

func testEmpty(j *job) {
	shapes := [][][]byte{nil, {}, {nil}, {{}}, {nil, {}, nil}}
	j.together(
		func(ctx context.Context) error {
			for _, bufs := range shapes {
				for range shapes {
					if err := j.ranks[0].Send(ctx, 1, 3, bufs...); err != nil {
						return err
					}
				}
			}
			return j.ranks[0].Send(ctx, 1, 3, []byte("end"))
		},
		func(ctx context.Context) error {
			for range shapes {
				for _, bufs := range append(shapes[1:], [][]byte{make([]byte, 8)}) {
					if n, err := j.ranks[1].Recv(ctx, 0, 3, bufs...); n != 0 || err != nil {
						return fmt.Errorf("an empty message: %d, %w", n, err)
					}
				}
			}
			return j.recv(1, 0, 3, []byte("end"))(ctx)
		})
}

func testScatterGather(j *job) {
	seed := j.rand.Uint64()
	sizes := []int{0, 1, 2, 100, 4096, 70_000, 300_000, 2 << 20}
	j.together(
		func(ctx context.Context) error {
			r := rand.New(rand.NewPCG(seed, 1))
			for i, n := range sizes {
				if err := j.ranks[0].Send(ctx, 1, 3, cut(r, payload(uint64(i), n))...); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context) error {
			r := rand.New(rand.NewPCG(seed, 2))
			for i, size := range sizes {
				room := make([]byte, size+r.IntN(10))
				n, err := j.ranks[1].Recv(ctx, 0, 3, cut(r, room)...)
				if err != nil {
					return err
				}
				if err := same(room[:n], payload(uint64(i), size)); err != nil {
					return err
				}
			}
			return nil
		})
}

// cut returns b in up to 40 pieces, some of them empty.
func cut(r *rand.Rand, b []byte) [][]byte {
	var at []int
	for range r.IntN(40) {
		at = append(at, r.IntN(len(b)+1))
	}
	slices.Sort(at)
	var pieces [][]byte
	from := 0
	for _, to := range append(at, len(b)) {
		pieces = append(pieces, b[from:to:to])
		from = to
	}
	return pieces
}

func testShortMessage(j *job) {
	body := payload(1, 1000)
	j.together(j.send(0, 1, 3, body), func(ctx context.Context) error {
		head, rest := make([]byte, 600), make([]byte, 5000)
		n, err := j.ranks[1].Recv(ctx, 0, 3, head, rest)
		if err != nil {
			return err
		}
		return same(append(head, rest...)[:n], body)
	})
}

func testNothingBeyond(j *job) {
	body := payload(1, 2000)
	j.together(j.send(0, 1, 3, body), func(ctx context.Context) error {
		room := payload(2, 4000)
		if _, err := j.ranks[1].Recv(ctx, 0, 3, room[100:1100], room[2000:3000]); err != nil {
			return err
		}
		want := payload(2, 4000)
		copy(want[100:1100], body)
		copy(want[2000:3000], body[1000:])
		return same(room, want)
	})
}

func testReuseAfterSend(j *job) {
	const rounds = 100
	size := func(i int) int { return 1 << (i % 18) }
	var recvs []part
	for i := range rounds {
		recvs = append(recvs, j.recv(1, 0, 3, payload(uint64(i), size(i))))
	}
	j.together(inOrder(recvs...), func(ctx context.Context) error {
		buf := make([]byte, size(17))
		bufs := make([][]byte, 2)
		for i := range rounds {
			n := copy(buf, payload(uint64(i), size(i)))
			bufs[0], bufs[1] = buf[:n/3], buf[n/3:n]
			if err := j.ranks[0].Send(ctx, 1, 3, bufs...); err != nil {
				return err
			}
			clear(buf)
			clear(bufs)
		}
		return nil
	})
}

func testSendChangesNothing(j *job) {
	for _, n := range []int{1, 1000, 1 << 20} {
		body := payload(uint64(n), n)
		var at transport.Rank = 1
		j.together(j.recv(1, 0, 3, payload(uint64(n), n)), func(ctx context.Context) error {
			bufs := [][]byte{body[:n/2], nil, body[n/2:]}
			if err := j.ranks[0].Send(ctx, at, 3, bufs...); err != nil {
				return err
			}
			if len(bufs[0]) != n/2 || bufs[1] != nil || len(bufs[2]) != n-n/2 {
				return fmt.Errorf("the list of buffers has changed")
			}
			return same(body, payload(uint64(n), n))
		})
	}
}

// testReuseAfterRecv detects a late write into the buffers of an earlier receive, or, with the race
// detector, a late read of its list.
func testReuseAfterRecv(j *job) {
	const rounds = 60
	size := func(i int) int { return 1 << (i % 18) }
	var sends []part
	for i := range rounds {
		sends = append(sends, j.send(0, 1, 3, payload(uint64(i), size(i))))
	}
	j.together(inOrder(sends...), func(ctx context.Context) error {
		bufs, rooms := make([][]byte, 2), make([][]byte, rounds)
		for i := range rooms {
			rooms[i] = make([]byte, size(i))
			bufs[0], bufs[1] = rooms[i][:size(i)/3], rooms[i][size(i)/3:]
			if _, err := j.ranks[1].Recv(ctx, 0, 3, bufs...); err != nil {
				return err
			}
			clear(bufs)
		}
		for i, room := range rooms {
			if err := same(room, payload(uint64(i), size(i))); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
		return nil
	})
}

func testEmptyAmongOthers(j *job) {
	var sends, recvs []part
	for i, n := range []int{0, 10, 0, 0, 1 << 20, 0, 1} {
		body := payload(uint64(i), n)
		for to := range 2 {
			sends = append(sends, j.send(0, to, 3, body))
		}
		recvs = append(recvs, j.recv(1, 0, 3, body), j.recv(0, 0, 3, body))
	}
	var mine, theirs []part
	for i := range recvs {
		if i%2 == 0 {
			theirs = append(theirs, recvs[i])
		} else {
			mine = append(mine, recvs[i])
		}
	}
	j.together(inOrder(sends...), inOrder(theirs...), inOrder(mine...))
}

// testLong sends more than 1 GiB from a few buffers, each many times in the message, to as few.
func testLong(j *job) {
	if testing.Short() {
		j.Skip("moves 1 GiB")
	}
	const part, parts = 1 << 20, 1025
	var from, to [64][]byte
	for i := range from {
		from[i], to[i] = payload(uint64(i), part), make([]byte, part)
	}
	var body, room [][]byte
	for i := range parts {
		body, room = append(body, from[i%len(from)]), append(room, to[i%len(to)])
	}
	tail := []byte("the end")
	j.together(
		func(ctx context.Context) error { return j.ranks[0].Send(ctx, 1, 1, append(body, tail)...) },
		func(ctx context.Context) error {
			end := make([]byte, 2*len(tail))
			n, err := j.ranks[1].Recv(ctx, 0, 1, append(room, end)...)
			if err != nil {
				return err
			}
			if want := parts*part + len(tail); n != want {
				return fmt.Errorf("the message has %d bytes, want %d", n, want)
			}
			errs := []error{same(end[:len(tail)], tail)}
			for i := range to {
				errs = append(errs, same(to[i], from[i]))
			}
			return errors.Join(errs...)
		})
}
