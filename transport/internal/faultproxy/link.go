package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// pieceBytes is the most that is read at once.
	pieceBytes = 32 << 10
	// maxPieces bounds what is under way in one direction of one connection.
	maxPieces = 256
)

// link is one connection through the proxy.
type link struct {
	from, to *net.TCPConn
	over     sync.Once
	ended    chan struct{}
}

// piece is what was read at once, or how the reading ended.
type piece struct {
	bytes []byte
	at    time.Time // when it may go on
	err   error
}

// carry carries both directions until they have ended, and closes the connections.
func (l *link) carry(tx, rx *Flow) {
	var wg sync.WaitGroup
	for _, way := range []struct {
		flow, back *Flow
		from, to   *net.TCPConn
	}{{tx, rx, l.from, l.to}, {rx, tx, l.to, l.from}} {
		pieces := make(chan piece, maxPieces)
		wg.Go(func() { l.read(way.flow, way.from, pieces) })
		wg.Go(func() { l.write(way.flow, way.back, way.to, pieces) })
	}
	wg.Wait()
	l.end(false)
}

// read takes what comes. It says how it ended last of all, once the black hole is open again.
func (l *link) read(f *Flow, from *net.TCPConn, pieces chan<- piece) {
	defer close(pieces)
	for {
		b := make([]byte, pieceBytes)
		n, err := from.Read(b)
		switch {
		case n > 0 && f.hole.state() != nil:
			f.lost.Add(int64(n))
		case n > 0:
			b, at := f.treat(b[:n])
			if !l.put(pieces, piece{bytes: b, at: at}) {
				return
			}
		}
		if err != nil {
			if f.hole.pass(l.ended) {
				_, at := f.treat(nil)
				l.put(pieces, piece{err: err, at: at})
			}
			return
		}
	}
}

func (l *link) put(pieces chan<- piece, p piece) bool {
	select {
	case pieces <- p:
		return true
	case <-l.ended:
		return false
	}
}

// write forwards pieces when it is their time. Where the far side has gone, the news travels back
// with the flow the other way, like everything else that this side learns of it.
func (l *link) write(f, back *Flow, to *net.TCPConn, pieces <-chan piece) {
	for p := range pieces {
		if !l.until(p.at) || !f.pause.pass(l.ended) {
			return
		}
		switch {
		case errors.Is(p.err, io.EOF):
			_ = to.CloseWrite()
			return
		case p.err != nil:
			l.reset()
			return
		}
		n, err := to.Write(p.bytes)
		f.bytes.Add(int64(n))
		if err != nil {
			if back.hole.pass(l.ended) && back.pause.pass(l.ended) {
				l.reset()
			}
			return
		}
	}
}

// until waits for a time, and reports false if the link ends first.
func (l *link) until(at time.Time) bool {
	d := time.Until(at)
	if d <= 0 {
		return !closed(l.ended)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ended:
		return false
	}
}

// reset ends both connections with a reset.
func (l *link) reset() { l.end(true) }

func (l *link) end(reset bool) {
	l.over.Do(func() {
		close(l.ended)
		for _, c := range []*net.TCPConn{l.from, l.to} {
			if reset {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
		}
	})
}
