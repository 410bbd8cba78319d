package meshjoin

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// wire is what TLS reads from and writes to. While ranks say hello, and on control streams, that is
// a connection as usual. Under a data stream it never waits: reading says that nothing is there,
// which crypto/tls takes for a passing fault and goes on from later, and writing is to a buffer,
// because crypto/tls takes no fault of writing for passing.
type wire struct {
	*net.TCPConn
	socket *mesh.Socket // what a data stream uses instead

	in   []byte // read and not yet asked for: in[r:w]
	r, w int
	one  [1][]byte

	mu   sync.Mutex // TLS may write while it reads, to end or to renew keys
	out  []byte     // written and not yet taken by the kernel: out[sent:]
	sent int
	some [1][]byte
}

const (
	// wireAhead is the most that is read at once: four records.
	wireAhead = 64 << 10
	// wireBehind is how much may wait for the kernel before a stream takes no more.
	wireBehind = 64 << 10
)

// nothing is what Read returns when nothing is there: a net.Error that is temporary.
type nothing struct{}

func (nothing) Error() string   { return "nothing there yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// detach makes w the wire of a data stream.
func (w *wire) detach() (err error) {
	w.socket, err = mesh.NewSocket(w.TCPConn)
	w.in = make([]byte, wireAhead)
	return err
}

// Read is TLS's.
func (w *wire) Read(b []byte) (int, error) {
	if w.socket == nil {
		return w.TCPConn.Read(b)
	}
	if w.r == w.w {
		w.one[0] = w.in
		n, err := w.socket.Read(w.one[:])
		if errors.Is(err, mesh.ErrAgain) {
			return 0, nothing{}
		}
		if err != nil {
			return 0, err
		}
		w.r, w.w = 0, n
	}
	n := copy(b, w.in[w.r:w.w])
	w.r += n
	return n, nil
}

// Write is TLS's. Under a data stream it takes everything.
func (w *wire) Write(b []byte) (int, error) {
	if w.socket == nil {
		return w.writeLate(b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, b...)
	return len(b), nil
}

// lateness is what a write is given again whose deadline passed before a byte was written.
const lateness = 500 * time.Millisecond

// writeLate writes again if this process did not run between the setting of a deadline and the
// write. TLS takes a deadline that has passed for the end of the connection, and a rank whose
// control stream has ended so, and which nobody hears any more, would be dead for its peers.
func (w *wire) writeLate(b []byte) (int, error) {
	n, err := w.TCPConn.Write(b)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		_ = w.SetWriteDeadline(time.Now().Add(lateness))
		return w.TCPConn.Write(b)
	}
	return n, err
}

// flush gives the kernel what it takes, and reports how much is left. more says that a further call
// follows.
func (w *wire) flush(more bool) (left int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.sent < len(w.out) {
		w.some[0] = w.out[w.sent:]
		n, err := w.socket.Write(w.some[:], more)
		if errors.Is(err, mesh.ErrAgain) {
			return w.settle(), nil
		}
		if err != nil {
			return 0, err
		}
		w.sent += n
	}
	w.out, w.sent = w.out[:0], 0
	return 0, nil
}

// settle makes room where bytes have been sent, and returns how many have not.
func (w *wire) settle() int {
	if w.sent >= wireBehind {
		w.out = w.out[:copy(w.out, w.out[w.sent:])]
		w.sent = 0
	}
	return len(w.out) - w.sent
}

// tcpOf returns the connection beneath all others.
func tcpOf(c net.Conn) *net.TCPConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*wire).TCPConn
}

// newDataStream makes a data stream of a connection whose hellos have been exchanged.
func newDataStream(c net.Conn) (mesh.Stream, error) {
	t, ok := c.(*tls.Conn)
	if !ok {
		return mesh.NewSocket(tcpOf(c))
	}
	w := t.NetConn().(*wire)
	if err := w.detach(); err != nil {
		return nil, err
	}
	return &tlsStream{tls: t, wire: w, stage: make([]byte, 0, recordBytes)}, nil
}
