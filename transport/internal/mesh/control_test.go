package mesh

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// lateConn finds its deadline passed, before a byte has moved, in the first late writes.
type lateConn struct {
	net.Conn
	late   int
	frames [][]byte
}

func (c *lateConn) Write(b []byte) (int, error) {
	if c.late > 0 {
		c.late--
		return 0, os.ErrDeadlineExceeded
	}
	c.frames = append(c.frames, append([]byte(nil), b...))
	return len(b), nil
}

// TestControlFrameIsWrittenAgain: a farewell is not lost where this process was stopped between
// setting the deadline and the write, and frames are numbered without a gap.
func TestControlFrameIsWrittenAgain(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := &lateConn{Conn: near, late: 1}
	p := New(config(0, 2)).peers[1]
	p.openControl(c)
	p.sendControl(kindFarewell, nil)
	c.late = 2 // a peer that does not read is not waited for any longer
	p.sendControl(kindHeartbeat, nil)
	p.sendControl(kindHeartbeat, nil)
	require.Len(t, c.frames, 2)
	for i, kind := range []frameKind{kindFarewell, kindHeartbeat} {
		h, err := decodeHeader(c.frames[i])
		require.NoError(t, err)
		require.Equal(t, kind, h.kind)
		require.Equal(t, uint64(i+1), h.seq)
	}
}
