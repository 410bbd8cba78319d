package mesh

import (
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// OpenControl gives the mesh the control stream to a peer, which is listened to at once, so that
// the death of a rank is heard of while the mesh is still being built.
func (t *Mesh) OpenControl(to transport.Rank, c net.Conn) {
	p := t.peers[to]
	p.openControl(c)
	t.wg.Go(p.listen)
}

// OpenData gives the mesh the data stream to a peer. summed has every payload carry a checksum;
// both ends must agree.
func (t *Mesh) OpenData(to transport.Rank, l Stream, summed bool) { t.peers[to].openData(l, summed) }

// Missing lists the ranks to which a stream is missing.
func (t *Mesh) Missing() []transport.Rank {
	var missing []transport.Rank
	for _, p := range t.peers {
		if p != t.self && !p.complete() {
			missing = append(missing, p.rank)
		}
	}
	return missing
}

// Start begins to send signs of life and to watch for those of others. together says that every
// rank has opened its streams, so that the silence of each counts from now on, and not from its
// first sign of life. It follows the last Open call and comes before the first of any other.
func (t *Mesh) Start(together bool) {
	if together {
		now := time.Now().UnixNano()
		for _, p := range t.peers {
			p.lastHeard.Store(now)
			p.begun.Store(true)
		}
	}
	t.wg.Go(t.monitor)
}

// Broken is closed once the mesh is broken; Err then says why, as an error of the operation op.
func (t *Mesh) Broken() <-chan struct{} { return t.broken }

// Err is the fault that broke the mesh, which must be broken.
func (t *Mesh) Err(op string) error { return t.fault.Load().as(op) }

// Abandon takes the place of Start and Close where the building has failed: it closes the streams
// there are.
func (t *Mesh) Abandon() {
	t.closed.Store(true)
	t.closeOnce.Do(t.dismantle)
}

func (t *Mesh) dismantle() {
	close(t.closing)
	for _, p := range t.peers {
		if p.control != nil {
			_ = p.control.Close()
		}
	}
	t.wg.Wait()
	for _, p := range t.peers {
		if p.data != nil {
			p.data.Close()
		}
	}
}
