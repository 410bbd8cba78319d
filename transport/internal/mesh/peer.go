package mesh

import (
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// peer is this rank's end of the two streams to another rank. The peer that stands for this rank
// itself has no streams and uses the matching alone.
type peer struct {
	t      *Mesh
	rank   transport.Rank
	data   Stream
	shared Sharer // data, if it is one
	in     recvSide
	out    sendSide
	matcher

	control     net.Conn
	controlMu   sync.Mutex // serialises frames sent on control
	controlSeq  uint64     // guarded by controlMu
	controlRest []byte     // of a frame whose beginning has been written; guarded by controlMu
	lastHeard   atomic.Int64
	heard       atomic.Bool   // something has come on the data stream since the monitor looked
	saidGoodbye atomic.Bool   // the peer has closed in good order
	begun       atomic.Bool   // it has given a sign of life since its streams were opened
	answers     chan struct{} // gets a value when the peer has answered a question
	gone        chan struct{} // closed when nothing more will come on the control stream
}

func newPeer(t *Mesh, rank transport.Rank) *peer {
	p := &peer{t: t, rank: rank, gone: make(chan struct{}), answers: make(chan struct{}, 1)}
	p.pairs.SetLimit(t.cfg.MaxUnexpectedBytes)
	if rank == t.cfg.Rank {
		p.pairs.SetLimit(math.MaxInt)
	}
	p.lastHeard.Store(time.Now().UnixNano())
	return p
}

// openControl and openData give p its streams.
func (p *peer) openControl(c net.Conn) {
	p.controlMu.Lock()
	defer p.controlMu.Unlock()
	p.control = c
	p.lastHeard.Store(time.Now().UnixNano())
}

func (p *peer) openData(l Stream, summed bool) {
	p.data = l
	p.controlMu.Lock() // against a revoke, since the mesh may break while it is being built
	p.shared, _ = l.(Sharer)
	p.controlMu.Unlock()
	p.in.summed = summed
	p.in.buf = make([]byte, readAhead)
	p.out.scratch = make([]byte, headerBytes+copyBelow)
}

// complete reports whether p has both streams.
func (p *peer) complete() bool { return p.control != nil && p.data != nil }
