package striped

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// pump receives what comes from one peer on one lane, until the peer ends it or the lane dies. Once
// the transport is of no use it goes on all the same, so that the peer is not kept from sending its
// end.
func (t *Transport) pump(lane int, peer transport.Rank) {
	b := t.inboxes[peer]
	defer t.laneOver(b)
	var f *buffer
	defer func() { t.pool.put(f) }()
	for {
		if f == nil {
			f = t.pool.get(headerBytes + max(t.cfg.StripeBytes, reasonFixed+maxReasonText))
		}
		room := f.b
		n, err := t.lanes[lane].Recv(context.Background(), peer, frameTag, room)
		if err != nil {
			t.laneDied(lane, peer, err)
			return
		}
		f.b = room[:n]
		kept, over, err := t.accept(lane, b, f)
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
func (t *Transport) accept(lane int, b *inbox, f *buffer) (kept, over bool, err error) {
	h, payload, err := decodeFrame(f.b)
	switch {
	case err != nil && !isLoss(err):
		return false, false, err
	case err != nil:
		t.corrupted(lane, b.peer, &h)
		if t.cfg.Parity > 0 {
			return false, false, nil
		}
		return false, false, err
	case h.kind == kindStripe:
		kept, err = b.take(lane, &h, f)
		return kept, false, err
	case !h.intact(payload):
		return false, h.kind == kindEnd, fmt.Errorf("end sums to %#08x, states %#08x: %w", sumOf(payload), h.sum, transport.ErrCorrupt)
	case h.kind == kindEnd:
		return false, true, t.endOf(b, &h, payload)
	}
	return false, false, nil
}
