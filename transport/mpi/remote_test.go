//go:build mpi && cgo

package mpi

import (
	"bytes"
	"context"
	"encoding/gob"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// mpirun returns a command that starts n ranks of program.
func mpirun(t testing.TB, n int, program ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("mpirun")
	if err != nil {
		t.Skip("no mpirun here: apt-get install openmpi-bin libopenmpi-dev")
	}
	args := []string{"--oversubscribe", "--bind-to", "none", "-n", strconv.Itoa(n)}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-run-as-root")
	}
	return exec.Command(path, append(args, program...)...)
}

// world is the ranks that mpirun has started for a test.
type world struct{ ranks []*remote }

// startWorld starts n ranks of this test binary, which end with the test.
func startWorld(t testing.TB, n int) *world {
	exe, err := os.Executable()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "mpi") // t.TempDir's names can be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	cmd := mpirun(t, n, exe)
	cmd.Env = append(os.Environ(), serverVariable+"="+socket)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); _ = l.Close() }()
	w := &world{ranks: make([]*remote, n)}
	t.Cleanup(func() { w.end(t, cmd, ended, &said) })
	for range n {
		conn, err := l.Accept()
		require.NoError(t, err, "mpirun has ended before its ranks were there")
		r := &remote{conn: conn, out: gob.NewEncoder(conn), in: gob.NewDecoder(conn), calls: make(map[uint64]chan rpcResponse)}
		var hello rpcResponse
		require.NoError(t, r.in.Decode(&hello))
		w.ranks[hello.Hello-1] = r
		go r.listen()
	}
	return w
}

// end ends the ranks, and fails the test if they do not end in order.
func (w *world) end(t testing.TB, cmd *exec.Cmd, ended chan error, said *bytes.Buffer) {
	for _, r := range w.ranks {
		if r != nil {
			_ = r.conn.Close()
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("mpirun: %v\n%s", err, said)
		}
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Signal(os.Interrupt)
		t.Errorf("the ranks do not end: %v", <-ended)
	}
}

// open joins the first n ranks as a job.
func (w *world) open(t testing.TB, n int) []transport.Transport {
	t.Helper()
	ends := make([]transport.Transport, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, r := range w.ranks[:n] {
		wg.Go(func() {
			var answer rpcResponse
			answer, errs[i] = r.ask(context.Background(), rpcRequest{Op: "open", Size: n})
			ends[i] = &remoteEnd{remote: r, rank: i, size: n, name: answer.Name}
		})
	}
	wg.Wait()
	for i, err := range errs {
		require.NoError(t, err, "rank %d", i)
	}
	return ends
}

// remote is a rank in its process.
type remote struct {
	conn net.Conn
	in   *gob.Decoder

	mu    sync.Mutex
	out   *gob.Encoder
	last  uint64
	calls map[uint64]chan rpcResponse
	lost  bool
}

func (r *remote) listen() {
	for {
		var answer rpcResponse
		err := r.in.Decode(&answer)
		r.mu.Lock()
		if err != nil {
			r.lost = true
			for _, c := range r.calls {
				close(c)
			}
			r.mu.Unlock()
			return
		}
		r.calls[answer.ID] <- answer
		delete(r.calls, answer.ID)
		r.mu.Unlock()
	}
}

// ask makes the rank run q, and passes the end of ctx on.
func (r *remote) ask(ctx context.Context, q rpcRequest) (rpcResponse, error) {
	answer := make(chan rpcResponse, 1)
	q.Cancel = endingOf(ctx)
	r.mu.Lock()
	r.last++
	q.ID = r.last
	if r.lost {
		close(answer)
	} else {
		r.calls[q.ID] = answer
		_ = r.out.Encode(q)
	}
	r.mu.Unlock()
	done := ctx.Done()
	for {
		select {
		case a, ok := <-answer:
			if !ok {
				return a, net.ErrClosed
			}
			if a.Panic != "" {
				panic(a.Panic)
			}
			return a, a.Err.decode()
		case <-done:
			done = nil
			r.mu.Lock()
			_ = r.out.Encode(rpcRequest{ID: q.ID, Cancel: endingOf(ctx)})
			r.mu.Unlock()
		}
	}
}

// remoteEnd is a rank's transport.
type remoteEnd struct {
	*remote
	rank, size int
	name       string
}

func (e *remoteEnd) Rank() transport.Rank { return transport.Rank(e.rank) }
func (e *remoteEnd) Size() int            { return e.size }

func (e *remoteEnd) Capabilities() transport.Capabilities {
	return transport.Capabilities{Name: e.name}
}

func (e *remoteEnd) WireBytes() uint64 {
	a, _ := e.ask(context.Background(), rpcRequest{Op: "wire"})
	return a.Wire
}

func (e *remoteEnd) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	_, err := e.ask(ctx, rpcRequest{Op: "send", Sends: toWire([]transport.Message{{Peer: to, Tag: tag, Bufs: bufs}})})
	return err
}

func (e *remoteEnd) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	recvs := []transport.Message{{Peer: from, Tag: tag, Bufs: bufs}}
	a, err := e.ask(ctx, rpcRequest{Op: "recv", Recvs: toWire(recvs)})
	if err != nil {
		return 0, err
	}
	fromWire(recvs, a.Recvs)
	return recvs[0].N, nil
}

func (e *remoteEnd) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	a, err := e.ask(ctx, rpcRequest{Op: "exchange", Sends: toWire(sends), Recvs: toWire(recvs)})
	if err == nil {
		fromWire(recvs, a.Recvs)
	}
	return err
}

func (e *remoteEnd) Close() error {
	_, err := e.ask(context.Background(), rpcRequest{Op: "close"})
	return err
}

func toWire(list []transport.Message) []rpcMessage {
	out := make([]rpcMessage, len(list))
	for i, m := range list {
		out[i] = rpcMessage{Peer: int(m.Peer), Tag: uint64(m.Tag), Bufs: m.Bufs}
	}
	return out
}

// fromWire puts what the rank has received into the callers' buffers.
func fromWire(list []transport.Message, got []rpcMessage) {
	for i := range list {
		list[i].N = got[i].N
		for k, b := range list[i].Bufs {
			copy(b, got[i].Bufs[k])
		}
	}
}
