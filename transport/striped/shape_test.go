package striped

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestShape: the data stripes of all blocks are the message, each byte once and in order, and no
// stripe is longer than allowed.
func TestShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{MinStripe: rapid.IntRange(1, 50).Draw(t, "least"), StripeBytes: rapid.IntRange(1, 300).Draw(t, "stripe")}
		k := rapid.IntRange(1, 7).Draw(t, "k")
		s := c.cut(rapid.IntRange(0, 5000).Draw(t, "total"), k)
		at := 0
		for b := range s.blocks() {
			require.LessOrEqual(t, s.length(b), c.StripeBytes)
			for i := range s.k {
				from, to := s.data(b, i)
				require.Equal(t, at, from)
				require.LessOrEqual(t, to-from, s.length(b))
				at = to
			}
		}
		require.Equal(t, s.total, at)
		if s.k == 1 && k > 1 {
			require.Less(t, s.total, k*c.MinStripe)
		}
	})
}

// TestSpans compares reading, writing and slicing at any place with one flat buffer.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 12).Draw(t, "lengths")
		var bufs [][]byte
		for i, n := range lengths {
			bufs = append(bufs, body(uint64(i), n))
		}
		flat := bytes.Join(bufs, nil)
		s := newSpans(bufs)
		at := rapid.IntRange(0, len(flat)).Draw(t, "at")
		n := rapid.IntRange(0, len(flat)-at).Draw(t, "n")
		news := body(99, n)
		s.write(at, news)
		copy(flat[at:], news)
		require.Equal(t, flat, bytes.Join(bufs, nil))
		got := make([]byte, n)
		s.read(at, got)
		require.True(t, bytes.Equal(flat[at:at+n], got))
		src := source{bufs: bufs}
		src.read(make([]byte, at))
		src.read(got)
		require.True(t, bytes.Equal(flat[at:at+n], got))
		if n == 0 {
			return
		}
		if piece, ok := s.slice(at, n); ok {
			require.Equal(t, flat[at:at+n], piece)
			require.Equal(t, n, cap(piece))
		} else {
			require.Greater(t, len(bufs), 1)
		}
	})
}

func TestPool(t *testing.T) {
	var p pool
	for _, n := range []int{0, 1, headerBytes, headerBytes + 1, headerBytes + 256, headerBytes + 257, headerBytes + 1<<18} {
		b := p.get(n)
		require.Len(t, b.b, n)
		require.LessOrEqual(t, cap(b.b), headerBytes+max(2*n, 256), "of %d bytes", n)
		p.put(b)
	}
	big := p.get(headerBytes + 1000)
	big.b = big.b[:headerBytes+10]
	copy(big.b, body(1, len(big.b)))
	fitting, kept := p.fit(big)
	require.False(t, kept)
	require.Equal(t, big.b, fitting.b)
	_, kept = p.fit(fitting)
	require.True(t, kept)
}
