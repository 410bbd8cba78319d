package striped

import (
	"errors"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// isLoss reports whether err means that a frame is lost, as opposed to a protocol error.
func isLoss(err error) bool { return errors.Is(err, transport.ErrCorrupt) }

// endOf handles a peer's end, after which nothing follows on a link. Each end is answered by an
// end; then neither side uses the link for the other, and either may close it.
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

// exhausted returns an error if a receive waits for a message that cannot arrive. mu is held.
func (b *inbox) exhausted() error {
	wanted := b.Posted() > 0
	for _, m := range b.open {
		wanted = wanted || b.links == 0 && m.taker != nil
	}
	if wanted && b.ended && (b.links == 0 || b.next >= b.final && b.Posted() > 0) {
		return transport.ErrPeerClosed
	}
	return nil
}

// linkEnded notes that nothing more arrives from b's peer on one link.
func (t *Transport) linkEnded(b *inbox) {
	b.mu.Lock()
	b.links--
	err := b.exhausted()
	b.mu.Unlock()
	if err != nil {
		t.breakDown(b.peer, err)
	}
}

// Close implements [transport.Transport]: it sends the queued frames and an end to every peer on
// every link, which takes at most [transport.Limits.CloseTimeout], and closes the links. It
// returns their errors.
func (t *Transport) Close() error {
	t.closeOnce.Do(t.shutDown)
	return t.closeErr
}

func (t *Transport) shutDown() {
	t.closed.Store(true)
	close(t.closing)
	t.wakeAll()
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
	t.closeErr = closeAll(t.links)
	for _, o := range t.outward {
		for link := range t.links {
			o.drop(link)
		}
	}
	<-parted
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.notifyTimer != nil {
		t.notifyTimer.Stop()
	}
}

// closeAll closes links concurrently, as each may have to wait for its peers.
func closeAll(links []transport.Transport) error {
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() { errs[i] = l.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
