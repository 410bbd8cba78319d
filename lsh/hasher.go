package lsh

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/hadamard"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// rounds of sign flips and Hadamard transforms make a rotation that is as good as a random one
// (Andoni et al. 2015, §5).
const rounds = 3

// Hasher gives rows their tuples of codes. It may be used by many goroutines.
//
// All hashes share one rotation, of rows padded with zeros to a power of two, and read its first
// Hashes·Width coordinates, each Width of its own. These are as independent as those of several
// rotations, since the axes of one are at right angles, and the last transform need only be made as
// far as they go.
type Hasher struct {
	cfg    Config
	dim    int
	padded int
	front  int              // coordinates that are computed
	signs  [rounds][]uint32 // masks, of padded elements
}

// NewHasher returns a hasher of rows of dim columns.
func NewHasher(cfg Config, dim int) (*Hasher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if dim < 1 {
		return nil, fmt.Errorf("lsh: rows of %d columns", dim)
	}
	cfg = cfg.withDefaults()
	h := &Hasher{cfg: cfg, dim: dim, front: powerOfTwo(cfg.Hashes * cfg.Width)}
	h.padded = max(powerOfTwo(dim), h.front)
	for r := range h.signs {
		random := rand.NewPCG(cfg.Seed, uint64(r))
		h.signs[r] = make([]uint32, h.padded)
		for i := range h.signs[r] {
			h.signs[r][i] = uint32(random.Uint64()>>32) & hadamard.Sign
		}
	}
	return h, nil
}

// powerOfTwo returns the least length of a transform for n elements.
func powerOfTwo(n int) int { return max(hadamard.Block, 1<<bits.Len(uint(n-1))) }

// bits is the number of bits of a tuple.
func (h *Hasher) bits() int { return h.cfg.Hashes * h.codeBits() }

func (h *Hasher) codeBits() int { return h.cfg.Family.bits(h.cfg.Width) }

// Codes sets dst to the Hashes codes of each row of x, whose rows are taken as one row group. dst
// is as long as they need. Of a tuple, the first code is the most significant.
func (h *Hasher) Codes(dst []uint32, x blas32.General) {
	if x.Cols != h.dim || len(dst) != x.Rows*h.cfg.Hashes {
		panic(fmt.Sprintf("lsh: %d codes of rows of %d columns, want %d of %d", len(dst), x.Cols, x.Rows*h.cfg.Hashes, h.dim))
	}
	var s hashing
	h.project(&s, x)
	for i := range x.Rows {
		h.codes(dst[i*h.cfg.Hashes:(i+1)*h.cfg.Hashes], s.row(h, i))
	}
}

// hashing is the memory for hashing one row group.
type hashing struct {
	padded, turned, scratch []float32 // a row on its way
	mean                    []float32
	code                    []uint32
	points                  []float32 // rows × front: rotated rows minus their mean
}

func (s *hashing) row(h *Hasher, i int) []float32 { return s.points[i*h.front : (i+1)*h.front] }

// project fills s.points. A row is read once: the mean of the row group is taken of the rotated
// rows, which is the same as rotating the mean.
func (h *Hasher) project(s *hashing, x blas32.General) {
	s.padded = mat.Reuse(s.padded, h.padded)
	s.turned = mat.Reuse(s.turned, h.padded)
	s.scratch = mat.Reuse(s.scratch, h.padded)
	s.points = mat.Reuse(s.points, x.Rows*h.front)
	clear(s.padded)
	for i := range x.Rows {
		src := mat.Row(x, i)
		if h.dim < h.padded {
			copy(s.padded, src)
			src = s.padded
		}
		next := mat.Row(x, min(i+1, x.Rows-1))
		hadamard.Transform(s.turned, src, h.signs[0])
		hadamard.Prefetch(next[:h.dim/2])
		hadamard.Transform(s.turned, s.turned, h.signs[1])
		hadamard.Prefetch(next[h.dim/2:])
		hadamard.Front(s.row(h, i), s.turned, h.signs[2], s.scratch)
	}
	if h.cfg.Centre == GroupMean {
		h.centre(s, x.Rows)
	}
}

// centre measures the first rows points from their mean, which is summed in the order of the rows.
func (h *Hasher) centre(s *hashing, rows int) {
	s.mean = mat.Reuse(s.mean, h.front)
	clear(s.mean)
	for i := range rows {
		f32.Add(s.mean, s.row(h, i))
	}
	f32.Scale(s.mean, 1/float32(rows))
	for i := range rows {
		centroid.Residual(s.row(h, i), 1, s.row(h, i), s.mean)
	}
}

// codes sets dst to the codes of a point.
func (h *Hasher) codes(dst []uint32, point []float32) {
	point = point[:h.cfg.Hashes*h.cfg.Width]
	if h.cfg.Family == CrossPolytope {
		centroid.Vertices(dst, point, h.cfg.Width)
		return
	}
	for i := range dst {
		dst[i] = 0
		for _, v := range point[i*h.cfg.Width : (i+1)*h.cfg.Width] {
			dst[i] = dst[i]<<1 | math.Float32bits(v)>>31
		}
	}
}

// tuple returns the joined codes of point i: the first in the most significant of the bits that
// there are.
func (h *Hasher) tuple(s *hashing, i int) uint64 {
	h.codes(s.code, s.row(h, i))
	t, width := uint64(0), h.codeBits()
	for _, c := range s.code {
		t = t<<width | uint64(c)
	}
	return t
}
