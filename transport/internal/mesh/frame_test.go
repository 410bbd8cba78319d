package mesh

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestHeaderRoundTrip(t *testing.T) {
	want := header{kind: kindData, epoch: 7, length: 9, tag: 1 << 50, seq: 3, message: 1 << 40, sum: 0xdeadbeef}
	var b [headerBytes]byte
	want.put(b[:])
	got, err := decodeHeader(b[:])
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestEveryFlippedHeaderBitIsFound(t *testing.T) {
	var b [headerBytes]byte
	(&header{kind: kindData, epoch: 1, length: 64, tag: 5, seq: 1, message: 64}).put(b[:])
	for bit := range headerBytes * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		_, err := decodeHeader(b[:])
		require.ErrorIs(t, err, transport.ErrCorrupt, "bit %d", bit)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestCheckDataNamesTheLimit(t *testing.T) {
	for want, h := range map[string]header{
		"limit " + strconv.Itoa(math.MaxInt): {kind: kindData, length: 8, message: math.MaxInt + 1},
		"limit 1048576":                      {kind: kindData, length: maxFramePayload + 1, message: maxFramePayload + 1},
		"in a message of":                    {kind: kindData, length: 9, message: 8},
		"empty frame":                        {kind: kindData, length: 0, message: 8},
		"of kind 2":                          {kind: kindHeartbeat},
	} {
		require.ErrorContains(t, h.checkData(), want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, h := range []header{
		{kind: kindData, length: 64, tag: 1, seq: 1, message: 64},
		{kind: kindAbort, epoch: 9, length: 12, seq: 1 << 60, message: 12, sum: 77},
	} {
		var b [headerBytes]byte
		h.put(b[:])
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := decodeHeader(raw)
		if err != nil {
			return
		}
		var b [headerBytes]byte
		h.put(b[:])
		require.Equal(t, raw[:headerBytes], b[:])
	})
}

func TestCursor(t *testing.T) {
	bufs := [][]byte{{}, make([]byte, 3), nil, make([]byte, 5), {}, make([]byte, 1)}
	at := cursor{bufs: bufs}
	at.fill([]byte{1, 2})
	at.fill([]byte{3, 4, 5})
	require.Len(t, at.next(nil, 9), 0, "no capacity, no pieces")
	require.Len(t, at.next(make([][]byte, 0, 4), 4), 2)
	at.fill([]byte{6, 7, 8, 9})
	out := make([]byte, 9)
	from := cursor{bufs: bufs}
	require.Equal(t, crc32c.Update(0, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}), from.sum(0, 9))
	from.drain(out[:4])
	from.drain(out[4:])
	require.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, out)
	from = cursor{bufs: bufs}
	from.skip(3)
	from.skip(4)
	from.drain(out[:2])
	require.Equal(t, []byte{8, 9}, out[:2])
}
