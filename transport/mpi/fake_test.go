package mpi

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// fakeWorld is an MPI in this process: the slow reference of the shim, for the engine's own tests.
type fakeWorld struct {
	mu    sync.Mutex
	ports []*fakePort
	data  map[fakeKey]*fakeData
	whole *sync.Cond // gather
	given [][]byte
}

type fakeKey struct {
	from, to int
	tag      int32
}

// fakeData is one side of a transfer that waits for the other.
type fakeData struct {
	id     int32
	bufs   [][]byte
	bytes  int
	sender bool
}

type fakePort struct {
	w       *fakeWorld
	me      int
	in, out []byte
	frames  []fakeFrame
	done    []completion
	stop    atomic.Bool
}

type fakeFrame struct {
	from  int
	bytes []byte
}

func newFakeWorld(n int) *fakeWorld {
	w := &fakeWorld{data: make(map[fakeKey]*fakeData)}
	w.whole = sync.NewCond(&w.mu)
	for r := range n {
		w.ports = append(w.ports, &fakePort{w: w, me: r, in: make([]byte, inSlots*frameBytes), out: make([]byte, outSlots*frameBytes)})
	}
	return w
}

func (p *fakePort) rank() int               { return p.me }
func (p *fakePort) size() int               { return len(p.w.ports) }
func (p *fakePort) crowded() bool           { return true }
func (p *fakePort) tagLimit() int           { return 1 << 15 }
func (p *fakePort) words(int32) string      { return "no code" }
func (p *fakePort) inbound(i int32) []byte  { return p.in[int(i)*frameBytes:][:frameBytes] }
func (p *fakePort) outbound(i int32) []byte { return p.out[int(i)*frameBytes:][:frameBytes] }
func (p *fakePort) interrupt()              { p.stop.Store(true) }
func (p *fakePort) calm()                   { p.stop.Store(false) }
func (p *fakePort) owned() bool             { return false }

func (p *fakePort) close(_ bool, owner any) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for k := range p.w.data { // no receive will ask for these
		if k.from == p.me || k.to == p.me {
			delete(p.w.data, k)
		}
	}
	if t, ok := owner.(*Transport); ok {
		for i := range t.requests {
			if s := t.requests[i].s; s != nil {
				s.pin.Unpin()
			}
		}
	}
	return nil
}

func (p *fakePort) gather(mine []byte) ([]byte, error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	round := len(w.given) / len(w.ports)
	w.given = append(w.given, nil)
	w.given[len(w.given)-1] = append([]byte{byte(p.me)}, mine...)
	w.whole.Broadcast()
	for len(w.given) < (round+1)*len(w.ports) {
		w.whole.Wait()
	}
	all := make([]byte, len(mine)*len(w.ports))
	for _, g := range w.given[round*len(w.ports):][:len(w.ports)] {
		copy(all[int(g[0])*len(mine):], g[1:])
	}
	return all, nil
}

func (p *fakePort) turn(b *batch, spins int, _ bool) error {
	p.w.mu.Lock()
	for _, c := range b.commands {
		p.start(c, b.pieces)
	}
	p.w.mu.Unlock()
	b.arrivals, b.done = b.arrivals[:0], b.done[:0]
	for range min(spins, 16) {
		if p.collect(b) || p.stop.Load() {
			return nil
		}
		runtime.Gosched()
	}
	return nil
}

func (p *fakePort) collect(b *batch) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	b.done = append(b.done, p.done...)
	p.done = p.done[:0]
	for i := int32(0); i < inSlots && len(p.frames) > 0; i++ {
		f := p.frames[0]
		p.frames = p.frames[1:]
		b.arrivals = append(b.arrivals, arrival{slot: i, peer: int32(f.from), bytes: int64(copy(p.inbound(i), f.bytes))})
	}
	return len(b.done)+len(b.arrivals) > 0
}

func (p *fakePort) start(c command, pieces []piece) {
	peer := p.w.ports[c.peer]
	if c.kind == sendFrame {
		peer.frames = append(peer.frames, fakeFrame{p.me, append([]byte(nil), p.outbound(c.first)[:c.bytes]...)})
		p.done = append(p.done, completion{id: c.id, bytes: c.bytes})
		return
	}
	mine := &fakeData{id: c.id, bytes: int(c.bytes), sender: c.kind == sendData}
	for _, at := range pieces[c.first:][:c.count] {
		mine.bufs = append(mine.bufs, unsafe.Slice(*(**byte)(unsafe.Pointer(&at.base)), at.bytes))
	}
	k := fakeKey{p.me, int(c.peer), c.tag}
	if !mine.sender {
		k = fakeKey{int(c.peer), p.me, c.tag}
	}
	other := p.w.data[k]
	if other == nil {
		p.w.data[k] = mine
		return
	}
	delete(p.w.data, k)
	if mine.sender {
		rows.CopyAll(other.bufs, mine.bufs)
	} else {
		rows.CopyAll(mine.bufs, other.bufs)
	}
	bytes := int64(min(mine.bytes, other.bytes))
	p.done = append(p.done, completion{id: mine.id, bytes: bytes})
	peer.done = append(peer.done, completion{id: other.id, bytes: bytes})
}

func (p *fakePort) cancel(id int32) (bool, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for k, d := range p.w.data {
		if k.to == p.me && d.id == id && !d.sender {
			delete(p.w.data, k)
			return true, nil
		}
	}
	return false, nil
}

// openFake joins n ranks of one fake world; each may change its configuration.
func openFake(t testing.TB, n int, change func(rank int, c *Config)) []*Transport {
	ends, errs := make([]*Transport, n), make([]error, n)
	w := newFakeWorld(n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			var cfg Config
			if change != nil {
				change(r, &cfg)
			}
			ends[r], errs[r] = join(t.Context(), cfg.WithDefaults(), w.ports[r])
		})
	}
	wg.Wait()
	for r := range n {
		require.NoError(t, errs[r], "rank %d", r)
		t.Cleanup(func() { _ = ends[r].Close() })
	}
	return ends
}

func TestEngineConforms(t *testing.T) {
	t.Parallel() // with the next, since both mostly wait for ranks that do not answer
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport { return asTransports(openFake(t, n, nil)) })
}

func TestEngineViews(t *testing.T) {
	transporttest.RunViews(t, func(t *testing.T, n int) []transport.Transport { return asTransports(openFake(t, n, nil)) })
}

// With little room for short messages almost everything is announced, and every credit counts.
func TestEngineConformsWithLittleRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("it is the suite again")
	}
	t.Parallel()
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		return asTransports(openFake(t, n, func(_ int, c *Config) { c.MaxUnexpectedBytes = 300 }))
	})
}

// With transfers of a few bytes almost every message takes many, as those do that are longer than
// MPI counts.
func TestEngineConformsInManyTransfers(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		return asTransports(openFake(t, n, func(_ int, c *Config) { c.transferBytes = 50_000 }))
	})
}

func asTransports(ends []*Transport) []transport.Transport {
	list := make([]transport.Transport, len(ends))
	for i, e := range ends {
		list[i] = e
	}
	return list
}
