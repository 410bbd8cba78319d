package balancing

import "context"

// transfer is messages that move on a goroutine of their own. The zero value has none.
type transfer struct {
	done   chan struct{} // nil if it has not begun
	err    error         // once done is closed
	cancel context.CancelFunc
}

// begin runs move.
func (t *transfer) begin(ctx context.Context, move func(context.Context) error) {
	t.done = make(chan struct{})
	ctx, t.cancel = context.WithCancel(ctx)
	go func() {
		defer close(t.done)
		t.err = move(ctx)
	}()
}

// wait waits for the end, and returns the error.
func (t *transfer) wait() error {
	if t.done == nil {
		return nil
	}
	<-t.done
	return t.err
}

// failed returns the error if the transfer has ended.
func (t *transfer) failed() error {
	select {
	case <-t.done: // never, if it is nil
		return t.err
	default:
		return nil
	}
}

// end waits for the end, which comes at once if what the transfer is for has failed.
func (t *transfer) end(failed bool) error {
	if t.done == nil {
		return nil
	}
	if failed {
		t.cancel()
	}
	defer t.cancel()
	return t.wait()
}
