package transporttest

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/transport"
)

var exchangeClaims = []claim{
	{"AllToAll1", allToAllSays, 1, testAllToAll},
	{"AllToAll2", allToAllSays, 2, testAllToAll},
	{"AllToAll3", allToAllSays, 3, testAllToAll},
	{"AllToAll4", allToAllSays, 4, testAllToAll},
	{"AllToAll7", allToAllSays, 7, testAllToAll},
	{"AllToAll8", allToAllSays, 8, testAllToAll},
	{"SameTag", "messages of one list that share a peer and a tag keep their order", 3, testExchangeSameTag},
	{"MeetsSendAndRecv", "an exchange on one side may meet Send and Recv on the other", 2, testExchangeMeets},
	{"Nothing", "an exchange of nothing succeeds", 2, testExchangeNothing},
	{"Cancelled", "an exchange whose ctx ends returns, and gives the buffers back", 2, testExchangeCancelled},
}

const allToAllSays = "exchanges whose sends and receives match never deadlock, whatever the sizes"

// testAllToAll runs three rounds without a pause: one rank may be in the next while another is in
// this.
func testAllToAll(j *job) {
	const rounds = 3
	seed := j.rand.Uint64()
	n := len(j.ranks)
	bodies := func(round, from, to int) []byte {
		k := uint64((round*n+from)*n + to)
		return payload(seed+k, unevenSize(rand.New(rand.NewPCG(seed, k)), n))
	}
	j.each(func(ctx context.Context, t transport.Transport) error {
		me := int(t.Rank())
		for round := range rounds {
			var sends, recvs []transport.Message
			for peer := range n {
				sends = append(sends, message(peer, transport.Tag(round), bodies(round, me, peer)))
				recvs = append(recvs, message(peer, transport.Tag(round), make([]byte, len(bodies(round, peer, me))+round)))
			}
			if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
				return err
			}
			for peer, m := range recvs {
				if err := same(m.Bufs[0][:m.N], bodies(round, peer, me)); err != nil {
					return fmt.Errorf("round %d, from rank %d: %w", round, peer, err)
				}
			}
		}
		return nil
	})
}

// unevenSize is mostly small, often nothing, and now and then several MiB, less often on many
// ranks.
func unevenSize(r *rand.Rand, ranks int) int {
	switch k := r.IntN(8); {
	case k < 2:
		return 0
	case k < 5:
		return r.IntN(5000)
	case k < 7 || r.IntN(ranks) > 1:
		return 1<<16 - 100 + r.IntN(200)
	}
	return 2<<20 + r.IntN(3<<20)
}

func testExchangeSameTag(j *job) {
	const count = 20
	size := func(i int) int { return []int{0, 1 << 17, 3, 1 << 10}[i%4] }
	j.each(func(ctx context.Context, t transport.Transport) error {
		var sends, recvs []transport.Message
		for i := range count {
			for peer := range t.Size() {
				sends = append(sends, message(peer, 5, payload(uint64(int(t.Rank())*count+i), size(i))))
				recvs = append(recvs, message(peer, 5, make([]byte, size(i)/2), make([]byte, size(i)-size(i)/2)))
			}
		}
		if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
			return err
		}
		for k, m := range recvs {
			i := k / t.Size()
			if err := same(append(m.Bufs[0], m.Bufs[1]...)[:m.N], payload(uint64(int(m.Peer)*count+i), size(i))); err != nil {
				return fmt.Errorf("message %d of rank %d: %w", i, m.Peer, err)
			}
		}
		return nil
	})
}

func testExchangeMeets(j *job) {
	there, back := payload(1, 1<<20), payload(2, 1<<20)
	j.together(
		func(ctx context.Context) error {
			recv := []transport.Message{message(1, 2, make([]byte, len(back)))}
			if err := transport.Exchange(ctx, j.ranks[0], []transport.Message{message(1, 1, there)}, recv); err != nil {
				return err
			}
			return same(recv[0].Bufs[0][:recv[0].N], back)
		},
		inOrder(j.recv(1, 0, 1, there), j.send(1, 0, 2, back)))
}

func testExchangeNothing(j *job) {
	j.each(func(ctx context.Context, t transport.Transport) error {
		return transport.Exchange(ctx, t, nil, []transport.Message{})
	})
}

// testExchangeCancelled waits for a message that is never sent. The race detector detects a buffer
// that is still used.
func testExchangeCancelled(j *job) {
	room := make([]byte, 100)
	j.together(func(parent context.Context) error {
		ctx, cancel := context.WithTimeout(parent, soon)
		defer cancel()
		recvs := []transport.Message{message(1, 1, room[:50]), message(1, 2, room[50:])}
		err := transport.Exchange(ctx, j.ranks[0], nil, recvs)
		clear(room)
		return isFault(err, context.DeadlineExceeded, 1)
	})
	j.together(j.works(0, 1), j.send(1, 0, 2, room[:50]), j.recv(0, 1, 2, room[:50]))
}
