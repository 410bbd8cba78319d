package mesh

// route decides where the payload of the open frame goes: to the waiter that asked for the message,
// or to the memory for unexpected ones. The caller holds the reader role.
func (p *peer) route() error {
	in := &p.in
	partial, err := p.chooseDestination()
	if err != nil {
		return err
	}
	in.routed = true
	if partial != nil { // copied without the lock: it may be megabytes
		in.dst = partial.copyTo(in.waiter)
		if p.free(partial) {
			p.wake(true)
		}
	}
	return nil
}

// chooseDestination sets in.waiter or in.msg. If a waiter has asked for a message that was being
// buffered, it returns what was buffered so far.
func (p *peer) chooseDestination() (partial *message, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := &p.in
	switch {
	case in.waiter != nil:
		return nil, nil
	case in.msg != nil && in.msg.taker != nil:
		partial = in.msg
		in.waiter, in.msg = partial.taker, nil
		return partial, nil
	case in.msg != nil:
		return nil, p.keep(0)
	}
	w, err := p.claim(in.head.tag, int(in.head.message))
	if w != nil {
		in.waiter, in.dst = w, cursor{bufs: w.bufs}
		return nil, err
	}
	return nil, p.keep(messageOverhead)
}

// keep makes room for the open frame in the unexpected message it belongs to. mu is held.
func (p *peer) keep(overhead int) error {
	in := &p.in
	if !p.admit(overhead + in.left) {
		return errStalled
	}
	if in.msg == nil {
		in.msg = p.spare.get(in.head.tag, int(in.head.message))
		p.pairs.Keep(in.msg.tag, in.msg.total, in.msg)
	}
	in.one[0] = nil
	if in.left > 0 {
		in.one[0] = in.msg.grow(in.left)
	}
	in.dst = cursor{bufs: in.one[:]}
	return nil
}

// finishUnexpected marks msg complete. If a receive asked for it meanwhile, it is copied and that
// waiter returned.
func (p *peer) finishUnexpected(msg *message) *waiter {
	p.mu.Lock()
	msg.complete = true
	w := msg.taker
	p.mu.Unlock()
	if w != nil {
		msg.copyTo(w)
		if p.free(msg) {
			p.wake(true)
		}
	}
	return w
}
