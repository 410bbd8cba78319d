package lsh

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/hadamard"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// slowPoint rotates a row by the definition, in float64.
func slowPoint(h *Hasher, x []float32) []float64 {
	v := make([]float64, h.padded)
	for i := range x {
		v[i] = float64(x[i])
	}
	for _, signs := range h.signs {
		out := make([]float64, len(v))
		for i := range out {
			for j := range v {
				if bits.OnesCount(uint(i&j))&1 != int(signs[j]>>31) {
					out[i] -= v[j]
				} else {
					out[i] += v[j]
				}
			}
		}
		v = out
	}
	return v[:h.front]
}

func TestPointsAreRotatedRows(t *testing.T) {
	r := seeded(t)
	for _, cfg := range []Config{{Centre: Origin}, {}, {Hashes: 9, Width: 32}} {
		for _, dim := range []int{1, 7, 64, 100, 128, 300} {
			cfg.Seed = r.Uint64()
			h, err := NewHasher(cfg, dim)
			require.NoError(t, err)
			x := matrix(r, 5, dim)
			var s hashing
			h.project(&s, x)
			mean := make([]float64, h.front)
			want := make([][]float64, x.Rows)
			for i := range want {
				want[i] = slowPoint(h, mat.Row(x, i))
				for j, v := range want[i] {
					mean[j] += v / float64(x.Rows)
				}
			}
			for i := range want {
				for j, w := range want[i] {
					if cfg.Centre == GroupMean {
						w -= mean[j]
					}
					size := math.Pow(float64(h.padded), 1.5)
					require.InDelta(t, w, s.row(h, i)[j], 1e-5*size, "dim %d, row %d, coordinate %d", dim, i, j)
				}
			}
		}
	}
}

func TestCodes(t *testing.T) {
	h, err := NewHasher(Config{Hashes: 2, Width: 3}, 8)
	require.NoError(t, err)
	dst := make([]uint32, 2)
	h.codes(dst, []float32{1, -3, 2, 0, 0, 5, 9, 9})
	require.Equal(t, []uint32{3, 4}, dst)
	h, err = NewHasher(Config{Family: Hyperplane, Hashes: 2, Width: 3}, 8)
	require.NoError(t, err)
	h.codes(dst, []float32{1, -3, 2, -1, 0, -5, -9, 9})
	require.Equal(t, []uint32{2, 5}, dst)
	require.Panics(t, func() { h.Codes(dst, blas32.General{Rows: 1, Cols: 9, Stride: 9, Data: make([]float32, 9)}) })
	require.Panics(t, func() { h.Codes(dst[:1], blas32.General{Rows: 1, Cols: 8, Stride: 8, Data: make([]float32, 8)}) })
}

func TestScaleDoesNotCount(t *testing.T) {
	r := seeded(t)
	for _, family := range []Family{CrossPolytope, Hyperplane} {
		h, err := NewHasher(Config{Family: family}, 50)
		require.NoError(t, err)
		x := matrix(r, 40, 50)
		a, b := make([]uint32, 240), make([]uint32, 240)
		h.Codes(a, x)
		for i := range x.Data {
			x.Data[i] *= 0.25
		}
		h.Codes(b, x)
		require.Equal(t, a, b)
	}
}

// TestTheSameOnEveryMachine holds everything that Compress decides and computes against what it was
// when this test was written, on rows that are made of whole numbers: any kernel, with or without
// assembly, must come to the same.
func TestTheSameOnEveryMachine(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Compensation: Identity, Refine: -1}, wantDefault},
		{Config{Family: Hyperplane, Centre: Origin, Seed: 5, Compensation: Identity, Refine: -1}, wantHyperplane},
		{Config{Refine: 1, Compensation: Interpolate, Bandwidth: 3, Ridge: 0.03, Width: 5}, wantRefined},
		{Config{}, wantChosen},
		{Config{Bucketing: Controlled, Compensation: Gain, Gain: 0.3, Refine: -1}, wantControlled},
	} {
		if c.cfg.Refine >= 0 && !gemm.Exact {
			continue // its products come from a library that does not define their bits
		}
		require.Equal(t, c.want, digest(t, c.cfg), "%+v", c.cfg)
	}
}

func digest(t *testing.T, cfg Config) string {
	r := rand.New(rand.NewPCG(11, 12))
	const rows, dim, groups = 300, 200, 3
	x, e := like(matrix(r, rows, dim)), like(matrix(r, rows, dim))
	for i := range x.Data {
		x.Data[i], e.Data[i] = float32(r.IntN(201)-100), float32(r.IntN(201)-100)
	}
	centroids, p := compressor(t, cfg, dim, groups).Compress(x, []int{90, 100, rows})
	y, dx := like(x), like(x)
	p.Restore(y, mat.Rows(e, 0, centroids.Rows))
	sum := sha256.New()
	put := func(v any) { require.NoError(t, binary.Write(sum, binary.LittleEndian, v)) }
	put(p.Clusters().Of)
	put(centroids.Data)
	put(y.Data)
	put(p.RestoreBackward(e).Data)
	p.CompressBackward(dx, mat.Rows(e, 0, centroids.Rows))
	put(dx.Data)
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

func TestSignsAreBalanced(t *testing.T) {
	h, err := NewHasher(Config{Seed: 3}, 4096)
	require.NoError(t, err)
	for _, signs := range h.signs {
		turned := 0
		for _, s := range signs {
			require.Zero(t, s&^hadamard.Sign)
			turned += int(s >> 31)
		}
		require.InDelta(t, 2048, turned, 5*32)
	}
}
