package tcp

import (
	"context"
	"net"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport"
)

// Near reaches some peers by something faster than TCP. Package hybrid makes one; its types are the house's own, so
// nobody else can.
type Near interface {
	// Notice is what every peer is told of this rank, at most 150 bytes without a '|'.
	Notice() string
	// Open begins to open lanes to the peers that it can reach, by their notices in the order of ranks ("" where there
	// is none), until ctx ends. Both ends of a pair must come to the same view. It returns those peers; their lanes
	// come on the channel.
	Open(ctx context.Context, m Meeting, notices []string) ([]transport.Rank, <-chan NearLane)
	// Wait returns when the context of Open has ended and nothing of that is under way.
	Wait()
}

// Meeting is what all ranks of a job know after the rendezvous.
type Meeting struct {
	Session [16]byte // drawn at random for this job
	Digest  [32]byte // of what has been agreed
}

// NearLane is what a [Near] has opened, or why it could not.
type NearLane struct {
	Peer    transport.Rank
	Data    mesh.Lane
	Control net.Conn
	Err     error
}

// noticeMark stands between the address of a rank's listener and its notice.
const noticeMark = "|"

// splitNotices takes what ranks have published apart.
func splitNotices(published []string) (addrs, notices []string) {
	addrs, notices = make([]string, len(published)), make([]string, len(published))
	for i, p := range published {
		addrs[i], notices[i], _ = strings.Cut(p, noticeMark)
	}
	return addrs, notices
}

// publish is what a rank whose listener has this address says of itself.
func (t *Transport) publish(addr string) string {
	if t.near == nil {
		return addr
	}
	return addr + noticeMark + t.near.Notice()
}

// openNear begins to open the lanes that are none of TCP's, and keeps TCP from opening them.
func (b *builder) openNear(m Meeting, notices []string) (left int) {
	if b.t.near == nil {
		return 0
	}
	peers, lanes := b.t.near.Open(b.ctx, m, notices)
	for _, r := range peers {
		b.accepted[[2]int{int(r), int(laneData)}] = true
		b.accepted[[2]int{int(r), int(laneControl)}] = true
	}
	b.near = lanes
	return len(peers)
}

// attachNear gives the peer both its lanes. What stays in this machine's memory needs no sums.
func (t *Transport) attachNear(n NearLane) error {
	if n.Err != nil {
		return &transport.Error{Rank: n.Peer, Op: "join", Err: n.Err}
	}
	t.OpenData(n.Peer, n.Data, false)
	t.OpenControl(n.Peer, n.Control)
	return nil
}
