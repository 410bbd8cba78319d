package mesh

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// inject writes raw bytes on the data stream from one rank to another, as a faulty rank or wire
// would.
func inject(t *testing.T, from, to *Mesh, raw []byte) {
	for len(raw) > 0 {
		n, err := from.peers[to.cfg.Rank].data.Write([][]byte{raw}, false)
		if err != ErrAgain { // which a stream may answer at any time
			require.NoError(t, err)
		}
		raw = raw[n:]
	}
}

// frameOf builds the frame that carries payload as a whole message.
func frameOf(h header, payload []byte) []byte {
	h.kind = kindData
	h.length, h.message, h.sum = uint32(len(payload)), uint64(len(payload)), crc32c.Update(0, payload)
	b := make([]byte, headerBytes)
	h.put(b)
	return append(b, payload...)
}

// requireBroken demands that all ranks of a job agree on who broke it and how.
func requireBroken(t *testing.T, ends []*Mesh, culprit transport.Rank, want error) {
	t.Helper()
	for r, e := range ends {
		if transport.Rank(r) == culprit {
			continue
		}
		_, err := e.Recv(t.Context(), transport.Rank((r+1)%len(ends)), 99, make([]byte, 1))
		require.ErrorIs(t, err, want, "rank %d", r)
		require.Equal(t, culprit, transport.CulpritOf(err), "rank %d: %v", r, err)
	}
}

func TestEveryCorruptByteIsFoundAndBlamed(t *testing.T) {
	clean := frameOf(header{tag: 5, seq: 1}, []byte("payload"))
	for i := range clean {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			ends := openAll(t, 2, nil)
			bad := append([]byte(nil), clean...)
			bad[i] ^= 0x40
			inject(t, ends[1], ends[0], bad)
			_, err := ends[0].Recv(t.Context(), 1, 5, make([]byte, 64))
			require.ErrorIs(t, err, transport.ErrCorrupt)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			closeAll(ends)
		})
	}
}

// cutInThree builds the frames that carry payload as one message, a third in each.
func cutInThree(tag transport.Tag, payload []byte) (frames []byte) {
	sum, third := uint32(0), len(payload)/3
	for i := range 3 {
		part := payload[i*third : (i+1)*third]
		h := header{kind: kindData, tag: tag, seq: uint64(i + 1), length: uint32(third), message: uint64(len(payload)), sum: sum}
		sum = crc32c.Update(sum, part)
		if i == 2 {
			h.sum = sum
		}
		b := make([]byte, headerBytes)
		h.put(b)
		frames = append(append(frames, b...), part...)
	}
	return frames
}

func TestCorruptionInAnyFrameOfAMessageIsFound(t *testing.T) {
	payload := []byte("nine long")
	for bad := -1; bad < len(payload); bad++ {
		ends := openAll(t, 2, nil)
		frames := cutInThree(5, payload)
		if bad >= 0 {
			frames[bad/3*(headerBytes+3)+headerBytes+bad%3] ^= 0x40
		}
		inject(t, ends[1], ends[0], frames)
		got := make([]byte, 64)
		n, err := ends[0].Recv(t.Context(), 1, 5, got)
		if bad < 0 {
			require.NoError(t, err)
			require.Equal(t, payload, got[:n])
		} else {
			require.ErrorIs(t, err, transport.ErrCorrupt, "byte %d", bad)
		}
		closeAll(ends)
	}
}

// announce builds the first frame of a message of total bytes.
func announce(total uint64, first []byte) []byte {
	h := header{kind: kindData, tag: 6, seq: 1, length: uint32(len(first)), message: total}
	b := make([]byte, headerBytes)
	h.put(b)
	return append(b, first...)
}

func TestWellFormedFramesOutOfPlaceAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"replayed": {append(frameOf(header{tag: 5, seq: 1}, []byte("a")), frameOf(header{tag: 6, seq: 1}, []byte("a"))...),
			transport.ErrCorrupt},
		"skipped":      {frameOf(header{tag: 6, seq: 2}, []byte("a")), transport.ErrCorrupt},
		"other epoch":  {frameOf(header{tag: 6, seq: 1, epoch: 3}, []byte("a")), transport.ErrProtocol},
		"too large":    {announce(1<<63, []byte("a")), transport.ErrTooLarge},
		"far too long": {announce(math.MaxInt, []byte("a")), transport.ErrTruncated},
		"too long":     {frameOf(header{tag: 6, seq: 1}, make([]byte, 65)), transport.ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			ends := openAll(t, 3, nil)
			inject(t, ends[1], ends[0], c.raw)
			_, err := ends[0].Recv(t.Context(), 1, 6, make([]byte, 64))
			require.ErrorIs(t, err, c.want)
			requireBroken(t, ends, 1, c.want)
			closeAll(ends)
		})
	}
}

func TestOperationTimeout(t *testing.T) {
	ends := openAll(t, 3, func(c *Config) { c.OpTimeout = 200 * time.Millisecond })
	start := time.Now()
	_, err := ends[0].Recv(t.Context(), 1, 1, make([]byte, 1))
	require.ErrorIs(t, err, transport.ErrTimeout)
	require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
	require.Less(t, time.Since(start), 5*time.Second)
	requireBroken(t, []*Mesh{ends[0], ends[2]}, 1, transport.ErrTimeout)
}

func TestCancelBeforeAnythingMovedLeavesTheMeshUsable(t *testing.T) {
	ends := openAll(t, 2, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := ends[0].Recv(ctx, 1, 7, make([]byte, 4))
		done <- err
	}()
	require.Eventually(t, func() bool {
		ends[0].sleepers.mu.Lock()
		defer ends[0].sleepers.mu.Unlock()
		return len(ends[0].sleepers.ops) == 1
	}, 5*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, ends[1].Send(t.Context(), 0, 7, []byte("well")))
	n, err := ends[0].Recv(t.Context(), 1, 7, make([]byte, 4))
	require.NoError(t, err)
	require.Equal(t, 4, n)
}

// TestNobodyReadsOnWhereACallHasLeft: a call that leaves a closed transport in the middle of a
// message leaves the rest of it on the stream. Another call that is still there must not take that
// for a frame.
func TestNobodyReadsOnWhereACallHasLeft(t *testing.T) {
	ends := openAll(t, 2, nil)
	p := ends[0].peers[1]
	first, second := ends[0].ops.get(ends[0]), ends[0].ops.get(ends[0])
	first.prepare(nil, []transport.Message{{Peer: 1, Tag: 5, Bufs: [][]byte{make([]byte, 1000)}}})
	second.prepare(nil, []transport.Message{{Peer: 1, Tag: 6, Bufs: [][]byte{make([]byte, 1000)}}})
	require.Nil(t, first.post())
	require.Nil(t, second.post())
	frame := frameOf(header{tag: 5, seq: 1}, make([]byte, 1000))
	inject(t, ends[1], ends[0], frame[:200])
	require.True(t, p.tryRead())
	_, err := p.pump(&first.sources[0], turnBytes)
	require.NoError(t, err)
	require.Same(t, &first.recvs[0], p.in.waiter)

	ends[0].life.RLock() // as the two calls do
	defer ends[0].life.RUnlock()
	go ends[0].Close()
	<-ends[0].closing
	p.abandon(&first.recvs[0])
	inject(t, ends[1], ends[0], frame[200:])
	_, err = p.pump(&second.sources[0], turnBytes)
	require.ErrorIs(t, err, errAbandoned)

	require.ErrorIs(t, ends[0].failStream(p, err).err, transport.ErrClosed)
	require.Nil(t, ends[0].fault.Load(), "so that Close still says goodbye")
}
