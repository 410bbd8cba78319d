package striped

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// pump receives the frames of one peer on one link, until the peer ends it or the link dies. It
// goes on when the transport is unusable, so that the peer can send its end.
func (t *Transport) pump(link int, peer transport.Rank) {
	b := t.inboxes[peer]
	defer t.linkEnded(b)
	var f *buffer
	defer func() { t.pool.put(f) }()
	for {
		if f == nil {
			f = t.pool.get(headerBytes + max(t.cfg.StripeBytes, reasonFixed+maxReasonText))
		}
		room := f.b
		n, err := t.links[link].Recv(context.Background(), peer, frameTag, room)
		if err != nil {
			t.linkDied(link, peer, err)
			return
		}
		f.b = room[:n]
		kept, over, err := t.accept(link, b, f)
		if err != nil {
			t.breakDown(peer, err)
		}
		if over {
			return
		}
		if kept {
			f = nil
			continue
		}
		f.b = room
	}
}

// accept takes one frame, and reports whether it keeps its memory and whether it is the last one.
func (t *Transport) accept(link int, b *inbox, f *buffer) (kept, over bool, err error) {
	h, payload, err := decodeFrame(f.b)
	switch {
	case err != nil && !isLoss(err):
		return false, false, err
	case err != nil:
		t.corrupted(link, b.peer, &h)
		if t.cfg.Parity > 0 {
			return false, false, nil
		}
		return false, false, err
	case h.kind == kindStripe:
		kept, err = b.take(link, &h, f)
		return kept, false, err
	case !h.intact(payload):
		return false, h.kind == kindEnd, fmt.Errorf("end sums to %#08x, states %#08x: %w", sumOf(payload), h.sum, transport.ErrCorrupt)
	case h.kind == kindEnd:
		return false, true, t.endOf(b, &h, payload)
	}
	return false, false, nil
}
