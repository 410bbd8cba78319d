//go:build mpi && cgo

package mpi

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// serverVariable, where it is set, makes the test binary a rank that serves the Unix socket it
// names.
const serverVariable = "SWITCHYARD_MPI_TEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(serverVariable); socket != "" {
		if err := serve(socket); err != nil {
			fmt.Fprintln(os.Stderr, "rank:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leaktest.Main(m)
}

// server is a rank of the world that the tests started. One job after the other is opened on it.
type server struct {
	out   *gob.Encoder
	outMu sync.Mutex

	mu       sync.Mutex
	t        *Transport
	contexts map[uint64]*rpcContext
	returned [][]byte // overwritten buffers of failed calls: MPI must not write to them
	wg       sync.WaitGroup
}

// overwritten fills a buffer that the call has released, guard the memory around it.
const overwritten, guard, guardBytes = 0x5a, 0xa5, 64

func serve(socket string) error {
	if _, err := startMPI(); err != nil {
		return err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	p, err := openPort(0)
	if err != nil {
		return err
	}
	s := &server{out: gob.NewEncoder(conn), contexts: make(map[uint64]*rpcContext)}
	s.respond(rpcResponse{Hello: p.rank() + 1})
	if err := p.close(true, nil); err != nil {
		return err
	}
	for in := gob.NewDecoder(conn); ; {
		var q rpcRequest
		if in.Decode(&q) != nil { // the tests are over
			s.wg.Wait()
			return stopMPI()
		}
		s.take(q)
	}
}

func (s *server) respond(r rpcResponse) {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	_ = s.out.Encode(r)
}

func (s *server) take(q rpcRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := s.contexts[q.ID]
	if q.Op == "" {
		if ctx != nil {
			ctx.end(q.Cancel)
		}
		return
	}
	ctx = newRPCContext(q.Cancel)
	s.contexts[q.ID] = ctx
	t := s.t
	s.wg.Go(func() {
		r := s.run(ctx, t, q)
		s.mu.Lock()
		delete(s.contexts, q.ID)
		s.mu.Unlock()
		r.ID = q.ID
		s.respond(r)
	})
}

func (s *server) run(ctx context.Context, t *Transport, q rpcRequest) (r rpcResponse) {
	defer func() {
		if p := recover(); p != nil {
			r.Panic = fmt.Sprint(p)
		}
	}()
	var err error
	switch q.Op {
	case "open":
		t, err = Join(ctx, Config{Size: q.Size})
		s.mu.Lock()
		s.t, s.returned = t, nil
		s.mu.Unlock()
		if t != nil {
			r.Name = t.Capabilities().Name
		}
	case "close":
		if err = t.Close(); err == nil {
			err = s.unspoiled()
		}
	case "wire":
		r.Wire = t.WireBytes()
	case "steady":
		r.Allocs, r.Took, err = steady(ctx, t, q.Bytes, q.N)
	default:
		r.Recvs, err = s.move(ctx, t, q)
	}
	r.Err = encodeError(err)
	return r
}

// move makes a call of t, with buffers of its own that are checked before and after.
func (s *server) move(ctx context.Context, t *Transport, q rpcRequest) ([]rpcMessage, error) {
	sends, sendGuards := guarded(q.Sends)
	recvs, recvGuards := guarded(q.Recvs)
	var err error
	switch q.Op {
	case "send":
		err = t.Send(ctx, sends[0].Peer, sends[0].Tag, sends[0].Bufs...)
	case "recv":
		recvs[0].N, err = t.Recv(ctx, recvs[0].Peer, recvs[0].Tag, recvs[0].Bufs...)
	case "exchange":
		err = t.Exchange(ctx, sends, recvs)
	}
	for i := range q.Sends {
		for k, b := range q.Sends[i].Bufs {
			if !bytes.Equal(b, sends[i].Bufs[k]) {
				return nil, fmt.Errorf("the call has changed buffer %d of message %d to send", k, i)
			}
		}
	}
	if e := intact(append(sendGuards, recvGuards...)); e != nil {
		return nil, e
	}
	var out []rpcMessage
	for _, m := range recvs {
		w := rpcMessage{N: m.N}
		for _, b := range m.Bufs {
			w.Bufs = append(w.Bufs, bytes.Clone(b))
		}
		out = append(out, w)
	}
	s.overwrite(sends, err)
	s.overwrite(recvs, err)
	return out, err
}

// guarded returns messages in memory of their own, with guards before, between and after their
// buffers.
func guarded(list []rpcMessage) (out []transport.Message, guards [][]byte) {
	for _, m := range list {
		bytes := guardBytes
		for _, b := range m.Bufs {
			bytes += len(b) + guardBytes
		}
		mem := make([]byte, bytes)
		for i := range mem {
			mem[i] = guard
		}
		guards = append(guards, mem[:guardBytes])
		at := guardBytes
		message := transport.Message{Peer: transport.Rank(m.Peer), Tag: transport.Tag(m.Tag)}
		for _, b := range m.Bufs {
			n := copy(mem[at:], b)
			message.Bufs = append(message.Bufs, mem[at:at+n])
			guards = append(guards, mem[at+n:][:guardBytes])
			at += n + guardBytes
		}
		out = append(out, message)
	}
	return out, guards
}

func intact(guards [][]byte) error {
	for i, g := range guards {
		for _, b := range g {
			if b != guard {
				return fmt.Errorf("guard %d has been written to", i)
			}
		}
	}
	return nil
}

// overwrite overwrites buffers that the call has released.
func (s *server) overwrite(list []transport.Message, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range list {
		for _, b := range m.Bufs {
			for i := range b {
				b[i] = overwritten
			}
			if err != nil {
				s.returned = append(s.returned, b)
			}
		}
	}
}

func (s *server) unspoiled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.returned {
		for _, x := range b {
			if x != overwritten {
				return fmt.Errorf("a buffer was written to after its call had failed")
			}
		}
	}
	return nil
}

// steady exchanges n messages of the given bytes with every rank, and returns allocations and time
// of each.
func steady(ctx context.Context, t *Transport, bytes, n int) (allocs float64, took time.Duration, err error) {
	var sends, recvs []transport.Message
	for r := range t.Size() {
		sends = append(sends, transport.Message{Peer: transport.Rank(r), Tag: 1, Bufs: [][]byte{make([]byte, bytes/3), make([]byte, bytes-bytes/3)}})
		recvs = append(recvs, transport.Message{Peer: transport.Rank(r), Tag: 1, Bufs: [][]byte{make([]byte, bytes)}})
	}
	for range 20 {
		if err := t.Exchange(ctx, sends, recvs); err != nil {
			return 0, 0, err
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	for range n {
		if err := t.Exchange(ctx, sends, recvs); err != nil {
			return 0, 0, err
		}
	}
	took = time.Since(begin)
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), took / time.Duration(n), nil
}
