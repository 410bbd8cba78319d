//go:build linux && !purego

package shmstream

import (
	"encoding/hex"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// newRing returns both ends of a ring in memory of this process.
func newRing(size int) (*writer, *reader) {
	r := ringAt(make([]byte, controlBytes+size), size)
	return &writer{ring: r}, &reader{ring: r}
}

// cut splits b at random places.
func cut(random *rand.Rand, b []byte) [][]byte {
	var pieces [][]byte
	for len(b) > 0 {
		n := 1 + random.IntN(len(b))
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return pieces
}

// TestRingIsAStream writes and reads a stream in random portions, and compares every byte with its
// place.
func TestRingIsAStream(t *testing.T) {
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 1))
		w, r := newRing(minRing)
		var wrote, got byte
		wrong := false
		for range 2000 {
			out := make([]byte, 1+random.IntN(minRing))
			for i := range out {
				out[i] = wrote + byte(i)
			}
			n, err := w.write(cut(random, out))
			if err != nil {
				require.ErrorIs(t, err, mesh.ErrAgain)
				require.False(t, w.hasRoom())
			}
			wrote += byte(n)
			in := make([]byte, 1+random.IntN(minRing))
			if n, err = r.read(cut(random, in)); err != nil {
				require.ErrorIs(t, err, mesh.ErrAgain)
				require.False(t, r.hasBytes())
			}
			for _, b := range in[:n] {
				wrong = wrong || b != got
				got++
			}
			require.False(t, wrong)
		}
	}
}

const minRing = 4096

func TestRingBetweenGoroutines(t *testing.T) {
	const total = 10 << 20
	w, r := newRing(minRing)
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 1000)
		for at := 0; at < total; {
			for i := range b {
				b[i] = byte((at + i) % 251)
			}
			n, err := w.write([][]byte{b[:min(len(b), total-at)]})
			if err != nil {
				mustAgain(t, err)
			}
			at += n
		}
		w.finished.Store(1)
	})
	b, at := make([]byte, 777), 0
	for {
		n, err := r.read([][]byte{b})
		if err == io.EOF {
			break
		}
		if err != nil {
			mustAgain(t, err)
		}
		for i := range n {
			if b[i] != byte((at+i)%251) {
				t.Fatalf("byte %d is wrong", at+i)
			}
		}
		at += n
	}
	wg.Wait()
	require.Equal(t, total, at)
}

// mustAgain lets the other side run: on one processor it has to.
func mustAgain(t *testing.T, err error) {
	if err != mesh.ErrAgain {
		t.Error(err)
	}
	runtime.Gosched()
}

func TestPositionsOfAPeerAreNotBelieved(t *testing.T) {
	w, r := newRing(minRing)
	w.head.Store(minRing + 1)
	_, err := r.read([][]byte{make([]byte, 10)})
	require.ErrorIs(t, err, transport.ErrCorrupt)
	w.tail.Store(1)
	_, err = w.write([][]byte{make([]byte, 10)})
	require.ErrorIs(t, err, transport.ErrCorrupt)
}

// FuzzRing lets a peer set the positions to anything at any time.
func FuzzRing(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint16(10))
	f.Add(uint64(1<<63), uint64(minRing), uint16(5000))
	f.Add(^uint64(0), ^uint64(0), uint16(1))
	f.Fuzz(func(t *testing.T, head, tail uint64, n uint16) {
		w, r := newRing(minRing)
		b := make([]byte, int(n)+1)
		for range 3 {
			w.head.Store(head)
			w.tail.Store(tail)
			got, err := w.write([][]byte{b[:len(b)/2], b[len(b)/2:]})
			require.True(t, got <= minRing && (err == nil) == (got > 0))
			w.head.Store(head)
			got, err = r.read([][]byte{b})
			require.True(t, got <= min(minRing, len(b)) && (err == nil) == (got > 0))
			head, tail = head*3+uint64(n), tail*5+1
		}
	})
}

func FuzzDecodeHello(f *testing.F) {
	var b [helloBytes]byte
	(&hello{Block: identity.Block{Size: 4, From: 3, To: 1, Epoch: 2}, arenaBytes: 4096, ringBytes: 4096}).put(b[:])
	f.Add(b[:])
	f.Add(putRefusal(transport.ErrMismatch))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < helloBytes {
			return
		}
		h, err := decodeHello(raw[:helloBytes])
		if err != nil {
			require.Equal(t, printable.Text(err.Error(), 1<<10), err.Error())
			return
		}
		var b [helloBytes]byte
		h.put(b[:])
		require.Equal(t, raw[:helloBytes], b[:])
	})
}

// TestHelloOnTheWire: ranks of other builds must be able to read it.
func TestHelloOnTheWire(t *testing.T) {
	var b [helloBytes]byte
	block := identity.Block{Size: 4, From: 3, To: 1, Epoch: 2, Terms: [32]byte{31: 9}}
	(&hello{Block: block, arenaBytes: 4096, ringBytes: 8192}).put(b[:])
	require.Equal(t, "5357594d0000000200000004000000030000000100000002", hex.EncodeToString(b[:24]))
	require.Equal(t, "09000000000000100000002000cd9e5fb3", hex.EncodeToString(b[71:]))
}
