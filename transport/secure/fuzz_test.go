package secure

import (
	"bytes"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// heard is a connection whose incoming bytes are given in advance.
type heard struct {
	net.Conn
	said    *bytes.Reader
	written int
}

func (h *heard) Read(b []byte) (int, error)       { return h.said.Read(b) }
func (h *heard) Write(b []byte) (int, error)      { h.written += len(b); return len(b), nil }
func (h *heard) SetDeadline(time.Time) error      { return nil }
func (h *heard) SetReadDeadline(time.Time) error  { return nil }
func (h *heard) SetWriteDeadline(time.Time) error { return nil }
func (h *heard) Close() error                     { return nil }

func fuzzGuards(f *testing.F) []*Guard {
	secret, err := NewGuard(Config{Secret: Secret("a secret of the fuzzing")}, "job", 1, nil)
	require.NoError(f, err)
	open, err := NewGuard(Config{}, "job", 1, nil)
	require.NoError(f, err)
	return []*Guard{secret, open}
}

// FuzzAdmit sends any bytes to the accepting side, which must not admit them, nor read without
// bound.
func FuzzAdmit(f *testing.F) {
	guards := fuzzGuards(f)
	var first [openingBytes]byte
	o := opening{from: 2, to: 1, job: guards[0].tag}
	o.put(first[:])
	f.Add(append(first[:], newReply(kindProof, make([]byte, 32))[:]...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
	f.Add([]byte("SWYX\x02"))
	f.Add([]byte("SWYR\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &heard{said: bytes.NewReader(said)}
		_, _, err := guards[0].Admit(c, Session{})
		require.Error(t, err)
		require.LessOrEqual(t, c.written, 2*noticeBytes)
		require.LessOrEqual(t, len(said)-c.said.Len(), maxDrain+openingBytes)

		c = &heard{said: bytes.NewReader(said)}
		_, _ = guards[1].Reject(c, said)
		require.LessOrEqual(t, c.written, noticeBytes)
	})
}

// FuzzOpen answers the dialling side with any bytes.
func FuzzOpen(f *testing.F) {
	guards := fuzzGuards(f)
	f.Add(append(newReply(kindChallenge, make([]byte, 32))[:], newReply(kindAnswer, make([]byte, 32))[:]...))
	var notice bytes.Buffer
	sendNotice(&notice, wantsTLS)
	f.Add(notice.Bytes())
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &heard{said: bytes.NewReader(said)}
		_, err := guards[0].Open(c, 0, Session{})
		require.Error(t, err)
		require.LessOrEqual(t, len(said)-c.said.Len(), 2*replyBytes)
		require.LessOrEqual(t, c.written, openingBytes+replyBytes)
		_ = ReadNotice(said)
	})
}

// FuzzOpening checks decoding against encoding.
func FuzzOpening(f *testing.F) {
	o := opening{from: 3, to: transport.Rank(1), session: Session{7}}
	b := make([]byte, openingBytes)
	o.put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) != openingBytes || checkHead(raw, kindOpening) != nil {
			return
		}
		o := decodeOpening(raw)
		again := make([]byte, openingBytes)
		o.put(again)
		require.Equal(t, raw, again)
	})
}

func TestBeforeProofLittleIsAllocated(t *testing.T) {
	g, err := NewGuard(Config{Secret: Secret("a secret of the testing")}, "job", 1, nil)
	require.NoError(t, err)
	var first [openingBytes]byte
	(&opening{from: 2, to: 1, job: g.tag}).put(first[:])
	said := append(first[:], bytes.Repeat([]byte{0xff}, 1<<16)...)
	for _, s := range [][]byte{said, []byte("SWYR" + string(said)), bytes.Repeat([]byte("\x16\x03"), 1<<15)} {
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			_, _, err := g.Admit(&heard{said: bytes.NewReader(s)}, Session{})
			require.Error(t, err)
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/runs, uint64(4<<10))
	}
}
