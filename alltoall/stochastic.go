package alltoall

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Stochastic is a [Codec]: a format of four bits, whose numbers are rounded to one of their two
// neighbours at random, so that on average they are themselves (Gupta et al. 2015; NVIDIA's recipe
// for NVFP4 rounds gradients so, arXiv 2509.25149). Its errors are larger than those of rounding
// to nearest, but sums of many gradients lose less. Scales are rounded up, as what is cut would be
// too small on average.
//
// The random numbers come from Seed and the row alone: the same row is written alike on every rank
// and in every layout. There are no kernels for it.
type Stochastic struct {
	// Format is MXFP4, NVFP4, Int4, MXFP4H, NVFP4H or Int4H.
	Format
	Seed uint64
}

// String is the format's name and the seed.
func (s Stochastic) String() string { return fmt.Sprintf("%v-stochastic(%d)", s.Format, s.Seed) }

// Append writes row behind dst.
func (s Stochastic) Append(dst []byte, row []float32) []byte {
	begin, n := len(dst), s.Bytes(len(row))
	dst = slices.Grow(dst, n)[:begin+n]
	quant.Format(s.Format).EncodeStochastic(dst[begin:], row, s.Seed)
	return dst
}
