package lsh

import (
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// seeded returns a random source, and says its seed if the test fails.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 7))
}

// matrix returns rows of normal numbers, with elements between the rows that belong to nobody.
func matrix(r *rand.Rand, rows, cols int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols + 3, Data: make([]float32, rows*(cols+3))}
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// clumps returns rows that lie around a few centres, not at the origin.
func clumps(r *rand.Rand, rows, cols, centres int, spread float32) blas32.General {
	m, c, common := matrix(r, rows, cols), matrix(r, centres, cols), matrix(r, 1, cols)
	for i := range rows {
		k := r.IntN(centres)
		for j := range cols {
			mat.Row(m, i)[j] = mat.Row(m, i)[j]*spread + mat.Row(c, k)[j] + mat.Row(common, 0)[j]
		}
	}
	return m
}

// some draws ends of groups of rows, some of them empty.
func some(r *rand.Rand, rows, groups int) []int {
	ends := make([]int, groups)
	at := 0
	for g := range ends {
		if r.IntN(4) > 0 {
			at = min(rows, at+r.IntN(2*rows/groups+1))
		}
		ends[g] = at
	}
	ends[groups-1] = rows
	return ends
}

func like(m blas32.General) blas32.General {
	return blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols, Data: make([]float32, m.Rows*m.Cols)}
}

// compressor returns one that must be right.
func compressor(t testing.TB, cfg Config, dim, groups int) *Compressor {
	t.Helper()
	c, err := New(cfg, dim, groups)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
