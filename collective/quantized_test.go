package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// rounded is what others read of v, which a rank writes in rows.
func rounded(codec collective.Codec, v []float32) []float32 {
	var all []float32
	for row := range slices.Chunk(v, 1024) {
		read := make([]float32, len(row))
		if err := codec.Decode(read, codec.Append(nil, row)); err != nil {
			panic(err)
		}
		all = append(all, read...)
	}
	return all
}

// lostOf is what rounding v to read loses, of finite numbers.
func lostOf(v, read []float32) []float32 {
	lost := make([]float32, len(v))
	for i := range v {
		if d := v[i] - read[i]; !math.IsNaN(float64(d)) && !math.IsInf(float64(d), 0) {
			lost[i] = d
		}
	}
	return lost
}

// slowSum is AllReduceQuantized of one vector of each rank, slice after slice, on one rank. It
// changes lost, if there is any.
func slowSum(codec collective.Codec, all, lost [][]float32) []float32 {
	n, length := len(all), len(all[0])
	sum := make([]float32, length)
	for owner := range n {
		lo, hi := collective.Slice(length, owner, n)
		mine := sum[lo:hi]
		for r := range n {
			v := slices.Clone(all[r][lo:hi])
			if lost != nil {
				for i := range v {
					v[i] += lost[r][lo+i]
				}
			}
			read := v
			if r != owner {
				read = rounded(codec, v)
				if lost != nil {
					copy(lost[r][lo:hi], lostOf(v, read))
				}
			}
			for i := range mine {
				if r == 0 {
					mine[i] = read[i]
				} else {
					mine[i] += read[i]
				}
			}
		}
		read := rounded(codec, mine)
		if lost != nil {
			copy(lost[owner][lo:hi], lostOf(mine, read))
		}
		copy(mine, read)
	}
	return sum
}

var quantizedCodecs = []collective.Codec{
	alltoall.FP8, alltoall.Int8, alltoall.NVFP4H, alltoall.Int4, alltoall.BF16,
	alltoall.Stochastic{Format: alltoall.MXFP4, Seed: 3},
}

// TestAllReduceQuantized sums several vectors at once, three times with the same feedback.
func TestAllReduceQuantized(t *testing.T) {
	random := seeded(t)
	onRanks(t, func(t *testing.T, n int) {
		for range 3 {
			codec := quantizedCodecs[random.IntN(len(quantizedCodecs))]
			lengths := []int{0, 1, n - 1, n, 97, 1024 * min(n, 3), 2500}[random.IntN(4):]
			testQuantized(t, random, codec, n, lengths, random.IntN(3) > 0)
		}
	})
}

func testQuantized(t *testing.T, random *rand.Rand, codec collective.Codec, n int, lengths []int, back bool) {
	const rounds = 3
	var all, want [rounds][][][]float32 // by round, vector, and rank if there are several
	lost := make([][][]float32, len(lengths))
	for i, length := range lengths {
		if back {
			lost[i] = vectors(random, n, length)
			for _, v := range lost[i] {
				clear(v)
			}
		}
		for round := range rounds {
			all[round] = append(all[round], vectors(random, n, length))
			sum := all[round][i][0] // one rank rounds nothing
			if n > 1 {
				sum = slowSum(codec, all[round][i], lost[i])
			}
			want[round] = append(want[round], [][]float32{sum})
		}
	}
	allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
		var feedback [][]float32
		for _, length := range lengths {
			if back {
				feedback = append(feedback, make([]float32, length))
			}
		}
		for round := range rounds {
			var x [][]float32
			for i := range lengths {
				x = append(x, slices.Clone(all[round][i][c.Rank()]))
			}
			if err := c.AllReduceQuantized(ctx, codec, x, feedback); err != nil {
				return err
			}
			for i := range lengths {
				if err := sameBits(x[i], want[round][i][0]); err != nil {
					return fmt.Errorf("%v, feedback %t, round %d, vector %d: %w", codec, back, round, i, err)
				}
			}
		}
		for i := range feedback {
			if err := sameBits(feedback[i], lost[i][c.Rank()]); err != nil {
				return fmt.Errorf("%v, feedback of vector %d: %w", codec, i, err)
			}
		}
		return nil
	})
}

// TestQuantizedSumsAreNearTheExactOne: each of n contributions and the sum lose at most a share of
// the largest number of their block.
func TestQuantizedSumsAreNearTheExactOne(t *testing.T) {
	random := seeded(t)
	onRanks(t, func(t *testing.T, n int) {
		for codec, most := range map[collective.Codec]float64{
			alltoall.FP8: 1. / 16, alltoall.Int8: 1. / 254, alltoall.Int4: 1. / 14, alltoall.BF16: 1. / 256, alltoall.Float32: 1e-6,
		} {
			const length = 2500
			all, exact, largest := vectors(random, n, length), make([]float64, length), 0.
			for _, v := range all {
				of := 0.
				for i, f := range v {
					exact[i] += float64(f)
					of = max(of, math.Abs(float64(f)))
				}
				largest += of
			}
			bound := 2 * most * largest * (1 + most)
			allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
				x := all[c.Rank()]
				if err := c.AllReduceQuantized(ctx, codec, [][]float32{x}, nil); err != nil {
					return err
				}
				for i, v := range x {
					if d := math.Abs(float64(v) - exact[i]); !(d <= bound) {
						return fmt.Errorf("%v: element %d is %v, the exact sum %v, at most %v apart", codec, i, v, exact[i], bound)
					}
				}
				return nil
			})
		}
	})
}

// TestFeedbackTakesErrorsBack: the mean of many sums of the same contributions goes to the exact
// sum with feedback, and not without.
func TestFeedbackTakesErrorsBack(t *testing.T) {
	const n, length, calls = 3, 400, 200
	random := seeded(t)
	all, exact := make([][]float32, n), make([]float64, length)
	for r := range all {
		for i := range length {
			all[r] = append(all[r], float32(random.NormFloat64()))
			exact[i] += float64(all[r][i])
		}
	}
	far := func(feedback [][]float32) (far float64) {
		var mu sync.Mutex
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			mean, lost := make([]float64, length), feedback
			if feedback != nil {
				lost = [][]float32{make([]float32, length)}
			}
			for range calls {
				x := slices.Clone(all[c.Rank()])
				if err := c.AllReduceQuantized(ctx, alltoall.Int4, [][]float32{x}, lost); err != nil {
					return err
				}
				for i, v := range x {
					mean[i] += float64(v) / calls
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range mean {
				far = max(far, math.Abs(mean[i]-exact[i]))
			}
			return nil
		})
		return far
	}
	require.Greater(t, far(nil), 0.2)
	require.Less(t, far([][]float32{}), 0.02)
}

// TestQuantizedBytes are those of the rows and a head for each peer, in two steps: a quarter of the
// exact sum's with 8 bits, an eighth with 4.
func TestQuantizedBytes(t *testing.T) {
	sizes := []int{40_000, 17, 1000}
	x := func() (x [][]float32) {
		for _, n := range sizes {
			x = append(x, make([]float32, n))
		}
		return x
	}
	for codec, most := range map[collective.Codec]float64{alltoall.FP8: 0.27, alltoall.Int8: 0.27, alltoall.NVFP4H: 0.15, alltoall.Int4: 0.15} {
		for _, n := range []int{2, 3, 8} {
			exact, all, count := 0, 0, 0
			for _, sent := range messages(t, n, func(ctx context.Context, c *collective.Comm) error {
				for _, v := range x() {
					if err := c.AllReduce(ctx, v); err != nil {
						return err
					}
				}
				return nil
			}) {
				for _, m := range sent {
					exact += m.bytes
				}
			}
			for _, sent := range messages(t, n, func(ctx context.Context, c *collective.Comm) error {
				return c.AllReduceQuantized(ctx, codec, x(), x())
			}) {
				for _, m := range sent {
					all += m.bytes
					count++
					require.Less(t, int(m.step), 2)
				}
			}
			rows := 0
			for _, length := range sizes {
				for r := range n {
					lo, hi := collective.Slice(length, r, n)
					rows += (hi-lo)/1024*codec.Bytes(1024) + codec.Bytes((hi-lo)%1024)
				}
			}
			require.Equal(t, 2*n*(n-1), count)
			require.Equal(t, 2*(n-1)*rows+8*n*(n-1), all, "%v on %d ranks", codec, n)
			require.Less(t, float64(all)/float64(exact), most, "%v on %d ranks", codec, n)
		}
	}
}

// TestQuantizedNumbersThatAreNotFinite are in the sums of all ranks, and not in the feedback.
func TestQuantizedNumbersThatAreNotFinite(t *testing.T) {
	for _, codec := range quantizedCodecs {
		for at, wrong := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			allSucceed(t, 3, func(ctx context.Context, c *collective.Comm) error {
				x, lost := [][]float32{make([]float32, 90)}, [][]float32{make([]float32, 90)}
				if c.Rank() == 1 {
					x[0][40*at] = wrong
				}
				if err := c.AllReduceQuantized(ctx, codec, x, lost); err != nil {
					return err
				}
				if v := x[0][40*at]; v-v == 0 {
					return fmt.Errorf("%v: %v became %v", codec, wrong, v)
				}
				for i, v := range lost[0] {
					if v-v != 0 {
						return fmt.Errorf("%v: feedback %d of %v is %v", codec, i, wrong, v)
					}
				}
				x[0] = make([]float32, 90)
				if err := c.AllReduceQuantized(ctx, codec, x, lost); err != nil {
					return err
				}
				return sameBits(x[0], make([]float32, 90))
			})
		}
	}
}

// badCodec does not keep to the rules.
type badCodec struct {
	alltoall.Format
	bytes, more int
	unread      error
}

func (b badCodec) Bytes(n int) int { return b.Format.Bytes(n) + b.bytes }

func (b badCodec) Append(dst []byte, row []float32) []byte {
	return append(b.Format.Append(dst, row), make([]byte, b.more)...)
}

func (b badCodec) Decode(row []float32, src []byte) error {
	if b.unread != nil {
		return b.unread
	}
	return b.Format.Decode(row, src)
}

// copied copies vectors, of which each rank needs its own.
func copied(x [][]float32) (own [][]float32) {
	for _, v := range x {
		own = append(own, slices.Clone(v))
	}
	return own
}

// TestQuantizedMisuse is an error that names what is wrong.
func TestQuantizedMisuse(t *testing.T) {
	two := [][]float32{make([]float32, 9), make([]float32, 9)}
	for want, of := range map[string]struct {
		codec       collective.Codec
		x, feedback [][]float32
	}{
		"no codec":                                 {nil, two, nil},
		"feedback of 1 vectors for 2":              {alltoall.FP8, two, two[:1]},
		"feedback[0] has 9 elements, its vector 3": {alltoall.FP8, [][]float32{{1, 2, 3}}, two[:1]},
		"int4 has -1 bytes for a row of 5 numbers, want 1 to 1048576":      {badCodec{Format: alltoall.Int4, bytes: -8}, two, nil},
		"int4 has 0 bytes for a row of 5 numbers, want 1 to 1048576":       {badCodec{Format: alltoall.Int4, bytes: -7}, two, nil},
		"int4 has 1048583 bytes for a row of 5 numbers, want 1 to 1048576": {badCodec{Format: alltoall.Int4, bytes: 1 << 20}, two, nil},
		"int4 has written 8 bytes for a row of 4 numbers, want 6":          {badCodec{Format: alltoall.Int4, more: 2}, two, nil},
		"int4 cannot read it: no such code":                                {badCodec{Format: alltoall.Int4, unread: errors.New("no such code")}, two, two},
	} {
		err := each(t, 2, func(ctx context.Context, c *collective.Comm) error {
			return c.AllReduceQuantized(ctx, of.codec, copied(of.x), copied(of.feedback))
		})[0]
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "all-reduce")
	}
}

// TestRanksOfOtherQuantizedSums find it, by lengths or the digest.
func TestRanksOfOtherQuantizedSums(t *testing.T) {
	for name, of := range map[string]struct {
		codec collective.Codec
		sizes []int
	}{
		"a codec of the same lengths":   {alltoall.Int8, []int{600, 600}},
		"a codec of other lengths":      {alltoall.Int4, []int{600, 600}},
		"vectors of other lengths":      {alltoall.FP8, []int{600, 601}},
		"as many numbers of one length": {alltoall.FP8, []int{1200}},
		"vectors in another order":      {alltoall.FP8, []int{601, 599}},
	} {
		t.Run(name, func(t *testing.T) {
			for r, err := range each(t, 2, func(ctx context.Context, c *collective.Comm) error {
				if c.Rank() == 0 {
					return c.AllReduceQuantized(ctx, alltoall.FP8, [][]float32{make([]float32, 600), make([]float32, 600)}, nil)
				}
				var x [][]float32
				for _, n := range of.sizes {
					x = append(x, make([]float32, n))
				}
				return c.AllReduceQuantized(ctx, of.codec, x, nil)
			}) {
				require.ErrorContains(t, err, "all-reduce #1: recv: ")
				if of.codec == alltoall.Int8 { // the digest; lengths are for the transport to find
					require.ErrorIs(t, err, transport.ErrMismatch)
					require.Equal(t, transport.Rank(1-r), transport.CulpritOf(err), "%v", err)
				}
			}
		})
	}
}

// TestQuantizedSumOfARankThatDies, between the two steps or before the first.
func TestQuantizedSumOfARankThatDies(t *testing.T) {
	for _, after := range []int{0, 1} {
		for r, err := range each(t, 4, func(ctx context.Context, c *collective.Comm) error {
			for call := range 2 {
				if c.Rank() == 2 && call == after {
					return errDies
				}
				if err := c.AllReduceQuantized(ctx, alltoall.FP8, [][]float32{make([]float32, 5000)}, nil); err != nil {
					return err
				}
			}
			return nil
		}) {
			require.ErrorIs(t, err, errDies, "rank %d", r)
			if r != 2 {
				require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
			}
		}
	}
}

// corrupter is a transport that sends other bytes behind the head of the first step.
type corrupter struct {
	transport.Transport
	data []byte
}

func (c *corrupter) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	head := 8
	if tag&0xff == 1 {
		head = 0
	}
	sent := slices.Concat(bufs...)
	for i := head; i < len(sent) && len(c.data) > 0; i++ {
		sent[i] = c.data[i%len(c.data)]
	}
	return c.Transport.Send(ctx, to, tag, sent)
}

// FuzzAllReduceQuantized has one of three ranks send anything: the others end, without a panic.
func FuzzAllReduceQuantized(f *testing.F) {
	f.Add([]byte{0xff}, uint(0), uint16(3000))
	f.Add([]byte{0, 0, 0x80, 0x7f, 3}, uint(3), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, format uint, length uint16) {
		names := alltoall.FormatNames()
		codec, err := alltoall.ParseFormat(names[format%uint(len(names))])
		require.NoError(t, err)
		var wg sync.WaitGroup
		for r, rank := range inproc.New(3) {
			wg.Go(func() {
				defer rank.Close()
				var tr transport.Transport = rank
				if r == 1 {
					tr = &corrupter{rank, data}
				}
				x, lost := [][]float32{make([]float32, length)}, [][]float32{make([]float32, length)}
				if err := collective.New(tr).AllReduceQuantized(context.Background(), codec, x, lost); err != nil {
					t.Errorf("rank %d: %v", r, err)
				}
				for _, v := range lost[0] {
					if v-v != 0 {
						t.Errorf("feedback of rank %d is %v", r, v)
					}
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkAllReduceQuantized(b *testing.B) {
	const length = 1 << 20
	for _, codec := range []alltoall.Format{alltoall.Float32, alltoall.FP8, alltoall.NVFP4H} {
		b.Run(codec.String(), func(b *testing.B) {
			b.SetBytes(4 * length)
			b.ReportAllocs()
			allSucceed(b, 2, func(ctx context.Context, c *collective.Comm) error {
				x, lost := [][]float32{make([]float32, length)}, [][]float32{make([]float32, length)}
				for range b.N {
					if err := c.AllReduceQuantized(ctx, codec, x, lost); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
