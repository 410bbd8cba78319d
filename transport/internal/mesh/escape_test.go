package mesh

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// hostile is what a peer may send in place of a reason: it would end a line of a log, and begin a
// false one.
const hostile = "x\nlevel=INFO msg=\"all is well\"\x1b[2J\u202e\xff"

// abortOf is the payload of an abort.
func abortOf(culprit transport.Rank, code uint32, text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(culprit))
	return append(binary.BigEndian.AppendUint32(b, code), text...)
}

// TestAbortTextIsPrintable: what a peer gives as its reason reaches errors and logs as one line.
func TestAbortTextIsPrintable(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	ends := openAll(t, 2, func(c *Config) {
		if c.Rank == 0 {
			c.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
		}
	})
	ends[1].peers[0].sendControl(kindAbort, abortOf(1, 2, hostile))
	_, err := ends[0].Recv(t.Context(), 1, 1, make([]byte, 1))
	require.ErrorIs(t, err, transport.ErrPeerDead)
	require.Equal(t, printable.Text(err.Error(), 1<<12), err.Error())
	require.ErrorContains(t, err, `x\nlevel=INFO msg="all is well"\x1b[2J\u202e\xff (found by rank 1)`)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), "one line: %s", &log)
}

// lockedWriter is for a log that is read while others may write it.
type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// FuzzAbort reads any payload as an abort: it breaks the mesh with a printable error, whatever it
// says.
func FuzzAbort(f *testing.F) {
	f.Add(abortOf(1, 2, hostile))
	f.Add(abortOf(transport.None, 3, "after 30 s"))
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := New(config(0, 3)) // without streams: nobody is notified
		m.peers[1].aborted(payload)
		err := m.Err("recv").(*transport.Error)
		require.Equal(t, printable.Text(err.Error(), 1<<14), err.Error())
		require.GreaterOrEqual(t, err.Rank, transport.None)
		require.Less(t, err.Rank, transport.Rank(3))
	})
}
