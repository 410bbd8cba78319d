package striped

import (
	"errors"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// isLoss reports whether err means that a frame is lost, as opposed to a peer that speaks another
// language.
func isLoss(err error) bool { return errors.Is(err, transport.ErrCorrupt) }

// endOf takes a peer's word that nothing follows on a lane. Each end is answered by an end,
// whereupon neither side uses the lane for the other any more and either may close it.
func (t *Transport) endOf(b *inbox, h *header, payload []byte) error {
	why, err := decodeReason(payload, b.peer, t.size)
	if why != nil {
		t.breakDown(why.rank, why.err)
	}
	t.outboxes[b.peer].end(header{}, nil, true)
	if err != nil || why != nil {
		return err
	}
	b.mu.Lock()
	b.ended, b.final = true, h.message
	err = b.exhausted()
	b.mu.Unlock()
	return err
}

// exhausted returns an error if somebody waits for what will not come. mu is held.
func (b *inbox) exhausted() error {
	wanted := b.asked > 0
	for _, m := range b.open {
		wanted = wanted || b.lanes == 0 && m.taker != nil
	}
	if wanted && b.ended && (b.lanes == 0 || b.next >= b.final && b.asked > 0) {
		return transport.ErrPeerClosed
	}
	return nil
}

// laneOver notes that nothing more comes from b's peer on one lane.
func (t *Transport) laneOver(b *inbox) {
	b.mu.Lock()
	b.lanes--
	err := b.exhausted()
	b.mu.Unlock()
	if err != nil {
		t.breakDown(b.peer, err)
	}
}

// Close implements [transport.Transport]: it sends on what is queued, takes leave of every peer on
// every lane, which takes at most [Config.CloseTimeout], and closes the lanes. It returns what
// closing them returned.
func (t *Transport) Close() error {
	t.closeOnce.Do(t.shutDown)
	return t.closeErr
}

func (t *Transport) shutDown() {
	t.closed.Store(true)
	close(t.closing)
	t.rouse()
	t.life.Lock() // every call has left
	defer t.life.Unlock()
	for _, o := range t.outward {
		o.end(header{}, nil, false)
	}
	parted := make(chan struct{})
	go func() { defer close(parted); t.wg.Wait() }()
	timer := time.NewTimer(t.cfg.CloseTimeout)
	defer timer.Stop()
	select {
	case <-parted:
	case <-timer.C:
	}
	t.closeErr = closeAll(t.lanes)
	for _, o := range t.outward {
		for lane := range t.lanes {
			o.drop(lane)
		}
	}
	<-parted
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.patience != nil {
		t.patience.Stop()
	}
}

// closeAll closes lanes at once, as each may have to wait for its peers.
func closeAll(lanes []transport.Transport) error {
	errs := make([]error, len(lanes))
	var wg sync.WaitGroup
	for i, l := range lanes {
		wg.Go(func() { errs[i] = l.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
