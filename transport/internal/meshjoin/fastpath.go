package meshjoin

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// FastPath reaches some peers by something faster than TCP.
type FastPath interface {
	// Notice is what every peer is sent about this rank, at most 150 bytes without a '|'.
	Notice() string
	// Open begins to open streams to the peers that it can reach, by their notices in the order of
	// ranks ("" if there is none), until ctx ends. Both ends of a pair must come to the same view. It
	// returns those peers; their streams come on the channel.
	Open(ctx context.Context, m Meeting, notices []string) ([]transport.Rank, <-chan Opened)
	// UseTCP is called when a peer, for which Open has not delivered streams, is reached over TCP
	// instead, and says why; why is nil if the peer has chosen so.
	UseTCP(r transport.Rank, why error)
	// Wait returns when the context of Open has ended and nothing of that is under way.
	Wait()
}

// Meeting is what all ranks of a job know after the rendezvous.
type Meeting struct {
	Session [16]byte // drawn at random for this job
	Digest  [32]byte // of what has been agreed
}

// Opened is what a [FastPath] has opened, or why it could not.
type Opened struct {
	Peer    transport.Rank
	Data    mesh.Stream
	Control net.Conn
	Err     error
	// Final says that Err ends the joining. Otherwise the peer is reached over TCP: this rank dials
	// it if it is below, and one above dials this rank.
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
func (j *joiner) publish(addr string) string {
	if j.fast == nil {
		return addr
	}
	return addr + noticeMark + j.fast.Notice()
}

// openFast begins to open the streams that are not TCP's, and keeps TCP from opening them. It
// returns how many peers that are.
func (b *builder) openFast(m Meeting, notices []string) int {
	if b.join.fast == nil {
		return 0
	}
	peers, opened := b.join.fast.Open(b.ctx, m, notices)
	for _, r := range peers {
		b.fast[r] = true
	}
	b.opened = opened
	return len(peers)
}

// attachFast gives the peer both its streams, or has it reached over TCP if that failed. It returns
// how many more streams are wanted for that. What stays in this machine's memory needs no
// checksums.
func (b *builder) attachFast(o Opened) (more int, err error) {
	if o.Err != nil {
		return b.replaceFast(o)
	}
	for _, kind := range []streamKind{controlStream, dataStream} {
		if !b.claim(&hello{Block: identity.Block{From: o.Peer}, kind: kind}) {
			return 0, &transport.Error{Rank: o.Peer, Op: "join",
				Err: fmt.Errorf("it came over TCP and by another way too: %w", transport.ErrProtocol)}
		}
	}
	b.join.mesh.OpenData(o.Peer, o.Data, false)
	b.join.mesh.OpenControl(o.Peer, o.Control)
	return 0, nil
}

// replaceFast has a peer reached over TCP, unless the failure is final. A peer above knows of the
// failure too, and dials.
func (b *builder) replaceFast(o Opened) (more int, err error) {
	if o.Final {
		return 0, &transport.Error{Rank: o.Peer, Op: "join", Err: o.Err}
	}
	if o.Peer > b.join.cfg.Rank {
		return 1, nil
	}
	more = b.fallBack(o.Peer, o.Err)
	b.dialBoth(o.Peer)
	return more + 1, nil
}

// fallBack notes that a peer of the fast path is reached over TCP, and returns how many more
// streams that are: one, or none if it was known.
func (b *builder) fallBack(r transport.Rank, why error) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fast[r] {
		return 0
	}
	delete(b.fast, r)
	b.join.fast.UseTCP(r, why)
	return 1
}
