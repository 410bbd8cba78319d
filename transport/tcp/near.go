package tcp

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
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
	// Forsake has the peer, for which Open has not delivered lanes, be reached over TCP for this reason. nil stands for
	// that the peer has chosen so.
	Forsake(r transport.Rank, why error)
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
	// Final says that Err ends the joining. Otherwise the peer is reached over TCP, if it is below this rank; one
	// above comes by itself.
	Final bool
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
		b.nearby[r] = true
	}
	b.near = lanes
	return len(peers)
}

// attachNear gives the peer both its lanes, or has it reached over TCP where that failed. It returns how many lanes are
// wanted more for that. What stays in this machine's memory needs no sums.
func (b *builder) attachNear(n NearLane) (more int, err error) {
	if n.Err != nil {
		if n.Final {
			return 0, &transport.Error{Rank: n.Peer, Op: "join", Err: n.Err}
		}
		if n.Peer > b.t.cfg.Rank {
			return 1, nil // it knows too, and comes over TCP
		}
		more = b.fallBack(n.Peer, n.Err)
		b.dialBoth(n.Peer)
		return more + 1, nil
	}
	if !b.claim(&hello{from: n.Peer, lane: laneControl}) || !b.claim(&hello{from: n.Peer, lane: laneData}) {
		return 0, &transport.Error{Rank: n.Peer, Op: "join", Err: fmt.Errorf("it came over TCP and by another way too: %w", transport.ErrProtocol)}
	}
	b.t.OpenData(n.Peer, n.Data, false)
	b.t.OpenControl(n.Peer, n.Control)
	return 0, nil
}

// fallBack notes that a near peer is reached over TCP, and returns how many lanes more that are: one, or none if it
// was known.
func (b *builder) fallBack(r transport.Rank, why error) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.nearby[r] {
		return 0
	}
	delete(b.nearby, r)
	b.t.near.Forsake(r, why)
	return 1
}
