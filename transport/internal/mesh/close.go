package mesh

import (
	"errors"
	"io"
	"time"
)

const (
	// goodbyeTimeout is how long Close waits for a peer to confirm the farewell by closing its
	// end. Closing first would, with a heartbeat unread, send a reset that can overtake the
	// farewell.
	goodbyeTimeout = 250 * time.Millisecond
	// drainEvery is how often Close looks whether the peers have taken what was sent.
	drainEvery = 500 * time.Microsecond
	// maxDrainReads bounds what is dropped of one peer before the next has its turn.
	maxDrainReads = 64
)

// Close implements transport.Transport. It waits up to [Config.CloseTimeout] for peers to take what
// was sent.
func (t *Mesh) Close() error {
	t.closeOnce.Do(t.shutDown)
	return nil
}

func (t *Mesh) shutDown() {
	t.revoke()
	t.closed.Store(true)
	close(t.closing)
	t.sleepers.wakeAll()
	t.life.Lock() // every call has left
	defer t.life.Unlock()
	if t.fault.Load() == nil {
		for _, p := range t.peers {
			p.sendControl(kindFarewell, nil)
		}
		t.drain()
	}
	t.partControl()
	t.wg.Wait()
	for _, p := range t.peers {
		if p.data != nil {
			p.data.Close()
		}
	}
	t.ops.release()
}

// drain ends the sending direction of every data stream and waits until the peers' kernels have
// everything. What they send meanwhile is read and dropped: unread bytes would turn the close into
// a reset, and a peer that is draining too needs the room.
func (t *Mesh) drain() {
	var open []*peer
	for _, p := range t.peers {
		if p.data != nil {
			p.data.Finish()
			open = append(open, p)
		}
	}
	sink := make([]byte, 64<<10)
	deadline := time.Now().Add(t.cfg.CloseTimeout)
	for time.Now().Before(deadline) {
		left := open[:0]
		for _, p := range open {
			if !p.drained(sink) {
				left = append(left, p)
			}
		}
		if open = left; len(open) == 0 {
			return
		}
		time.Sleep(drainEvery)
	}
}

// drained drops what has come and reports whether p needs nothing more from this rank.
func (p *peer) drained(sink []byte) bool {
	for range maxDrainReads {
		_, err := p.data.Read([][]byte{sink})
		if err == nil {
			continue
		}
		if errors.Is(err, ErrAgain) || errors.Is(err, io.EOF) {
			return p.data.Unacked() == 0
		}
		return true
	}
	return false
}

// partControl closes every control stream, in order where the peer takes part.
func (t *Mesh) partControl() {
	for _, p := range t.peers {
		if c, ok := p.control.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}
	timer := time.NewTimer(goodbyeTimeout)
	defer timer.Stop()
	for _, p := range t.peers {
		if p.control == nil {
			continue
		}
		select {
		case <-p.gone:
		case <-timer.C:
			timer.Reset(0)
		}
		_ = p.control.Close()
	}
}
