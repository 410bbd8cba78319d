package transporttest

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

var matchingClaims = []claim{
	{"OrderWithinTag", "messages of one sender and tag arrive in the order in which they were sent", 2, testOrder},
	{"TagsAreIndependent", "a receive under one tag does not wait for another tag", 2, testTagsIndependent},
	{"TagsOutOfOrder", "tags can be received in any order, whatever the order of sending", 2, testTagsOutOfOrder},
	{"AllTags", "every value of 48 bits is a tag", 2, testAllTags},
	{"SendersAreIndependent", "a receive from one rank does not wait for another rank", 3, testSendersIndependent},
	{"SelfSend", "a message to oneself is legal and is always buffered, in order, of any length", 2, testSelfSend},
	{"SelfRecvFirst", "a receive from oneself can be called before the send", 1, testSelfRecvFirst},
	{"OneRank", "a job of one rank is a job", 1, testOneRank},
}

func testOrder(j *job) {
	var sends, recvs []part
	for i := range 300 {
		n := j.rand.IntN(300)
		if i%50 == 49 {
			n = 1 << 19
		}
		body := payload(uint64(i), n)
		sends = append(sends, j.send(0, 1, 7, body))
		recvs = append(recvs, j.recv(1, 0, 7, body))
	}
	j.together(inOrder(sends...), inOrder(recvs...))
}

func testTagsIndependent(j *job) {
	late, early := payload(1, 500), payload(2, 600)
	j.together(
		inOrder(j.send(1, 0, 2, early), j.recv(1, 0, 3, nil), j.send(1, 0, 1, late)),
		j.recv(0, 1, 1, late),
		inOrder(j.recv(0, 1, 2, early), j.send(0, 1, 3, nil)))
}

func testTagsOutOfOrder(j *job) {
	var sends, recvs []part
	for tag := range transport.Tag(64) {
		body := payload(uint64(tag), 100*int(tag))
		sends = append(sends, j.send(0, 1, tag, body))
		recvs = append(recvs, j.recv(1, 0, tag, body))
	}
	j.rand.Shuffle(len(recvs), func(a, b int) { recvs[a], recvs[b] = recvs[b], recvs[a] })
	j.together(all(sends...), inOrder(recvs...))
}

func testAllTags(j *job) {
	tags := []transport.Tag{0, 1, 1 << 31, 1 << 32, 1<<transport.TagBits - 1}
	var sends, recvs []part
	for i, tag := range tags {
		body := payload(uint64(i), 100+i)
		sends = append(sends, j.send(0, 1, tag, body))
		recvs = append(recvs, j.recv(1, 0, tag, body))
	}
	j.together(all(sends...), all(recvs...))
}

func testSendersIndependent(j *job) {
	one, two := payload(1, 10_000), payload(2, 20_000)
	j.together(
		j.recv(0, 1, 5, one),
		inOrder(j.recv(0, 2, 5, two), j.send(0, 1, 6, nil)),
		inOrder(j.recv(1, 0, 6, nil), j.send(1, 0, 5, one)),
		j.send(2, 0, 5, two))
}

func testSelfSend(j *job) {
	var parts []part
	sizes := []int{0, 1, 1 << 10, 3 << 20, 17}
	for i, n := range sizes {
		parts = append(parts, j.send(1, 1, 9, payload(uint64(i), n)))
	}
	for i, n := range sizes {
		parts = append(parts, j.recv(1, 1, 9, payload(uint64(i), n)))
	}
	j.together(inOrder(parts...))
}

func testSelfRecvFirst(j *job) {
	big := payload(3, 1<<20)
	j.together(j.recv(0, 0, 1, big), inOrder(j.send(0, 0, 2, nil), j.recv(0, 0, 2, nil), j.send(0, 0, 1, big)))
}

func testOneRank(j *job) {
	j.each(func(ctx context.Context, t transport.Transport) error {
		body, room := payload(1, 100), make([]byte, 100)
		send := []transport.Message{{Peer: 0, Tag: 1, Bufs: [][]byte{body}}}
		recv := []transport.Message{{Peer: 0, Tag: 1, Bufs: [][]byte{room}}}
		if err := transport.Exchange(ctx, t, send, recv); err != nil {
			return err
		}
		return same(room[:recv[0].N], body)
	})
}
