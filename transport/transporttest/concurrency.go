package transporttest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

var concurrencyClaims = []claim{
	{"ManyGoroutines", "all methods may be called from any number of goroutines at once", 4, testManyGoroutines},
	{"WholeMessages", "sends on one tag by several goroutines are whole", 2, testWholeMessages},
	{"ConcurrentExchanges", "exchanges of several goroutines do not disturb each other", 3, testConcurrentExchanges},
	{"RecvOrder", "several receives on one sender and tag are served in the order in which they were called", 2, testRecvOrder},
	{"ManyInFlight", "any number of messages may be in flight", 3, testManyInFlight},
}

// testManyGoroutines uses a goroutine for each pair of ranks, tag and direction.
func testManyGoroutines(j *job) {
	const tags, rounds = 6, 20
	var parts []part
	for from := range j.ranks {
		for to := range j.ranks {
			for tag := range transport.Tag(tags) {
				var sends, recvs []part
				for i := range rounds {
					body := payload(uint64(from*100+to*10+i), j.rand.IntN(20_000))
					sends = append(sends, j.send(from, to, tag, body))
					recvs = append(recvs, j.recv(to, from, tag, body))
				}
				parts = append(parts, inOrder(sends...), inOrder(recvs...))
			}
		}
	}
	j.together(parts...)
}

// testWholeMessages sends messages filled with one byte value each: mixed messages are detected.
func testWholeMessages(j *job) {
	const senders, rounds, size = 8, 25, 9000
	var parts []part
	for s := range senders {
		parts = append(parts, func(ctx context.Context) error {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(s)
			}
			for range rounds {
				if err := j.ranks[0].Send(ctx, 1, 3, body[:size/2], body[size/2:]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	parts = append(parts, func(ctx context.Context) error {
		count := make([]int, senders)
		room := make([]byte, size)
		for range senders * rounds {
			n, err := j.ranks[1].Recv(ctx, 0, 3, room)
			if err != nil {
				return err
			}
			if n != size {
				return fmt.Errorf("a message of %d bytes, want %d", n, size)
			}
			for _, b := range room {
				if b != room[0] {
					return fmt.Errorf("messages of senders %d and %d are mixed", room[0], b)
				}
			}
			count[room[0]]++
		}
		for s, n := range count {
			if n != rounds {
				return fmt.Errorf("%d messages of sender %d, want %d", n, s, rounds)
			}
		}
		return nil
	})
	j.together(parts...)
}

func testManyInFlight(j *job) {
	const count = 1000
	j.each(func(ctx context.Context, t transport.Transport) error {
		var sends, recvs []transport.Message
		me := int(t.Rank())
		for peer := range t.Size() {
			for i := range count {
				tag := transport.Tag(i / 3)
				sends = append(sends, message(peer, tag, payload(uint64(me*count+i), i%40)))
				recvs = append(recvs, message(peer, tag, make([]byte, 40)))
			}
		}
		if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
			return err
		}
		for k, m := range recvs {
			i := k % count
			if err := same(m.Bufs[0][:m.N], payload(uint64(int(m.Peer)*count+i), i%40)); err != nil {
				return fmt.Errorf("message %d of rank %d: %w", i, m.Peer, err)
			}
		}
		return nil
	})
}

func message(peer int, tag transport.Tag, bufs ...[]byte) transport.Message {
	return transport.Message{Peer: transport.Rank(peer), Tag: tag, Bufs: bufs}
}

func testConcurrentExchanges(j *job) {
	const goroutines, rounds = 4, 10
	var parts []part
	for _, t := range j.ranks {
		for g := range goroutines {
			parts = append(parts, func(ctx context.Context) error {
				for round := range rounds {
					if err := swap(ctx, t, transport.Tag(g), 1+(g*rounds+round)*997); err != nil {
						return fmt.Errorf("at rank %d, round %d: %w", t.Rank(), round, err)
					}
				}
				return nil
			})
		}
	}
	j.together(parts...)
}

// swap exchanges a message of n bytes with every rank under one tag.
func swap(ctx context.Context, t transport.Transport, tag transport.Tag, n int) error {
	body := func(from, to int) []byte { return payload(uint64(from*t.Size()+to)<<32|uint64(tag), n) }
	var sends, recvs []transport.Message
	for peer := range t.Size() {
		sends = append(sends, message(peer, tag, body(int(t.Rank()), peer)))
		recvs = append(recvs, message(peer, tag, make([]byte, n)))
	}
	if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
		return err
	}
	for peer, m := range recvs {
		if err := same(m.Bufs[0][:m.N], body(peer, int(t.Rank()))); err != nil {
			return fmt.Errorf("from rank %d: %w", peer, err)
		}
	}
	return nil
}

// testRecvOrder calls receives with a moment between them. On a loaded machine a goroutine may
// reach its call later, so one round in order is enough; without order that has a chance of 1 in
// 6!.
func testRecvOrder(j *job) {
	const receivers, rounds = 6, 8
	for range rounds {
		got := make([]byte, receivers)
		var parts, sends []part
		for i := range receivers {
			parts = append(parts, func(ctx context.Context) error {
				moment := time.NewTimer(time.Duration(i) * soon / 2)
				defer moment.Stop()
				<-moment.C
				_, err := j.ranks[1].Recv(ctx, 0, 3, got[i:i+1])
				return err
			})
			sends = append(sends, j.send(0, 1, 3, []byte{byte(i)}))
		}
		last := func(context.Context) error {
			moment := time.NewTimer(receivers * soon / 2)
			defer moment.Stop()
			<-moment.C
			return nil
		}
		j.together(append(parts, inOrder(append([]part{last}, sends...)...))...)
		if slices.IsSorted(got) {
			return
		}
		j.Logf("served in the order %v", got)
	}
	j.Error("never in the order of the calls")
}
