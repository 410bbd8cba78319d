// Package codectest is the conformance suite of codecs: what [alltoall.Codec] promises, as tests.
// Every codec runs it:
//
//	codectest.Run(t, myCodec{}, codectest.Loss{Most: 1. / 256})
package codectest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Loss is what a codec leaves out of rows by design. Its zero value is nothing: rows come back with
// all their bits.
type Loss struct {
	// Most is the largest error of a number of a row, as a part of the row's largest magnitude. 1 is
	// that of a codec that leaves numbers out.
	Most float64
	// Drifts says that a row that comes back, when written again, may be written in other bytes.
	Drifts bool
}

// Run tests a codec, which the suite calls from several goroutines: run it with -race too.
//
// Numbers of which a codec may have no room are not tried: the rows have magnitudes from 2⁻¹² to
// 2¹² or so.
func Run(t *testing.T, c alltoall.Codec, loss Loss) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r.check(suite{t, c, loss, rand.New(rand.NewPCG(seed, 1))})
		})
	}
}

// rules are the tests, in an order in which each may rely on those before.
var rules = []struct {
	name  string
	check func(suite)
}{
	{"Name", suite.name},
	{"Lengths", suite.lengths},
	{"RoundTrip", suite.roundTrip},
	{"Drift", suite.drift},
	{"Deterministic", suite.deterministic},
	{"RowsIndependent", suite.independent},
	{"Unchanged", suite.unchanged},
	{"Concurrent", suite.concurrent},
	{"NotFinite", suite.notFinite},
	{"AnyBytes", suite.anyBytes},
}

// suite is a codec under test.
type suite struct {
	require.TestingT
	codec alltoall.Codec
	loss  Loss
	rand  *rand.Rand
}

// encode writes a row into memory of any content, with what is not its own on both sides.
func (s suite) encode(row []float32) []byte {
	const before = 3 // rows need not stand at even addresses
	n := s.codec.Bytes(len(row))
	buf := make([]byte, before+n+8)
	for i := range buf {
		buf[i] = byte(s.rand.Uint32())
	}
	around := append([]byte(nil), buf...)
	got := s.codec.Append(buf[:before:before+n], row)
	require.Len(s, got, before+n, "what Append writes for %d numbers, behind %d bytes", len(row), before)
	require.Equal(s, around[:before], got[:before], "what stood before the row")
	require.Equal(s, around[before+n:], buf[before+n:], "what stands after the room for the row")
	return got[before:]
}

// decode reads a row that encode has written, into memory of any content.
func (s suite) decode(src []byte, n int) []float32 {
	row := s.row(n)
	require.NoError(s, s.codec.Decode(row, src), "Decode of what Append wrote for %d numbers", n)
	return row
}

// row draws n numbers of about one magnitude, with zeros and some much smaller ones among them.
func (s suite) row(n int) []float32 {
	row, scale := make([]float32, n), float32(uint(1)<<s.rand.IntN(13))
	if s.rand.IntN(2) == 0 {
		scale = 1 / scale
	}
	for i := range row {
		switch v := float32(s.rand.NormFloat64()); s.rand.IntN(8) {
		case 0:
		case 1:
			row[i] = v * scale / 4096
		default:
			row[i] = v * scale
		}
	}
	if n > 0 {
		row[s.rand.IntN(n)] = scale * (1 + s.rand.Float32())
	}
	return row
}

// widths are numbers of columns: none, one, those on both sides of blocks, and large ones.
func (s suite) widths() []int {
	list := []int{0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 1000, 4096}
	return append(list, s.rand.IntN(500), s.rand.IntN(500))
}
