package striped

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

func frameOf(h header, payload []byte) []byte {
	var t Transport
	return t.frame(h, payload).b
}

func TestFrame(t *testing.T) {
	h := header{kind: kindStripe, k: 4, m: 1, message: 1 << 40, tag: 1<<60 + 7, total: 12_345, block: 3, stripe: 2}
	payload := body(1, 77)
	got, p, err := decodeFrame(frameOf(h, payload))
	require.NoError(t, err)
	require.Equal(t, payload, p)
	require.True(t, got.intact(p))
	h.length, h.sum = 77, sumOf(payload)
	require.Equal(t, h, got)
	for i := range headerBytes {
		f := frameOf(h, payload)
		f[i] ^= 0x10
		_, _, err := decodeFrame(f)
		require.ErrorIs(t, err, transport.ErrCorrupt, "byte %d", i)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frameOf(header{kind: kindStripe, k: 4, m: 1, total: 100_000, stripe: 2}, make([]byte, 25_000)))
	f.Add(frameOf(header{kind: kindStripe, k: 1, m: 1, total: 3}, []byte("abc")))
	f.Add(frameOf(header{kind: kindEnd, message: 9}, encodeReason(&fault{2, transport.ErrTruncated})))
	f.Add(frameOf(header{kind: kindAlive}, nil))
	f.Add([]byte("SYSt"))
	cfg := Config{Parity: 1}.WithDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		// the second time with the right sum, so that more code is reached
		for _, own := range []bool{false, true} {
			if own && len(b) >= headerBytes {
				h := header{
					kind: frameKind(b[5]), k: b[6], m: b[7], message: uint64(b[8]), total: uint64(b[24])<<24 | uint64(b[25]),
					block: uint32(b[32]), stripe: uint32(b[36]),
				}
				b = frameOf(h, b[headerBytes:])
			}
			h, payload, err := decodeFrame(b)
			if err != nil {
				require.True(t, errors.Is(err, transport.ErrCorrupt) || errors.Is(err, transport.ErrProtocol))
				continue
			}
			if h.intact(payload) {
				again, _, err := decodeFrame(frameOf(h, payload))
				require.NoError(t, err)
				require.Equal(t, h, again)
			}
			if s, err := h.check(&cfg, 5, int(h.stripe)); err == nil {
				require.Len(t, payload, s.length(int(h.block)))
				require.Less(t, int(h.block), s.blocks())
			}
		}
	})
}

func FuzzReason(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeReason(&fault{1, transport.ErrPeerDead}))
	f.Add(append(encodeReason(&fault{1, transport.ErrPeerDead}), "\n\x1b[2J\u202e\xff"...))
	f.Add(encodeReason(&fault{transport.None, transport.ErrTimeout}))
	f.Add(encodeReason(&fault{0, errors.New("something else")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		why, err := decodeReason(b, 1, 3)
		if err != nil {
			require.ErrorIs(t, err, transport.ErrProtocol)
			return
		}
		if why != nil {
			require.Less(t, why.rank, transport.Rank(3))
			require.GreaterOrEqual(t, why.rank, transport.None)
			require.NotEmpty(t, why.err)
			require.Equal(t, printable.Text(why.err.Error(), 1<<13), why.err.Error())
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(terms{1, 5, 1, 4096, 1 << 18}.encode())
	f.Add(make([]byte, helloBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHello(b); err == nil {
			require.Equal(t, b, h.encode())
		}
	})
}

// TestNonsense sends what the protocol does not allow; the receiver names the sender and the fault.
func TestNonsense(t *testing.T) {
	stripe := func(change func(h *header)) []byte {
		h := header{kind: kindStripe, k: 2, m: 1, total: 500}
		change(&h)
		return frameOf(h, make([]byte, 250))
	}
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"too large":       {stripe(func(h *header) { h.total = 1 << 63 }), transport.ErrTooLarge},
		"far too long":    {frameOf(header{kind: kindStripe, k: 2, m: 1, tag: 1, total: 1 << 30}, make([]byte, 256)), transport.ErrTruncated},
		"code":            {stripe(func(h *header) { h.k = 3 }), transport.ErrProtocol},
		"block":           {stripe(func(h *header) { h.block = 1 }), transport.ErrProtocol},
		"stripe":          {stripe(func(h *header) { h.stripe = 1 }), transport.ErrProtocol},
		"length":          {stripe(func(h *header) { h.total = 300 }), transport.ErrProtocol},
		"kind":            {frameOf(header{kind: 77}, nil), transport.ErrProtocol},
		"end by no rank":  {frameOf(header{kind: kindEnd}, encodeReason(&fault{9, transport.ErrCorrupt})), transport.ErrProtocol},
		"end for nothing": {frameOf(header{kind: kindEnd}, []byte{1, 2}), transport.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			ends := open(t, 2, 3, small(1), nil)
			require.NoError(t, ends[0].links[0].Send(context.Background(), 1, frameTag, c.frame))
			_, err := ends[1].Recv(context.Background(), 0, 1, nil)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
		})
	}
	t.Run("two messages of one number", func(t *testing.T) {
		ends := open(t, 2, 3, small(1), nil)
		for link, tag := range []transport.Tag{5, 6} {
			f := stripe(func(h *header) { h.stripe, h.tag = uint32(link), tag })
			require.NoError(t, ends[0].links[link].Send(context.Background(), 1, frameTag, f))
		}
		_, err := ends[1].Recv(context.Background(), 0, 1, nil)
		require.ErrorIs(t, err, transport.ErrProtocol)
	})
}
