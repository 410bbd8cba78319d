package formats

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/hadamard"
)

// transformCase is a case of hadamard.json.
type transformCase struct {
	N        int
	X        string
	Unscaled []float64
	Y        string `json:"y_bits"`
	Matrix   []string
}

// transform checks a product by the Hadamard matrix, by its definition and by the kernels.
func (t *tally) transform(raw json.RawMessage) error {
	var c transformCase
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	x, err := floats(c.X)
	if err != nil || len(x) != c.N || len(c.Unscaled) != c.N {
		return fmt.Errorf("%d numbers and %d sums, want %d: %w", len(x), len(c.Unscaled), c.N, err)
	}
	y, sums := make([]float32, c.N), make([]float64, c.N)
	for i := range sums {
		for j, v := range x {
			sums[i] += math.Pow(-1, float64(bits.OnesCount(uint(i&j)))) * float64(v)
		}
		y[i] = float32(sums[i] / math.Sqrt(float64(c.N)))
	}
	label := fmt.Sprintf("Hadamard of %d", c.N)
	t.same(label+", sums", fmt.Sprint(sums), fmt.Sprint(c.Unscaled))
	t.same(label, bitsText(y), normal(c.Y))
	if c.Matrix != nil {
		t.same(label+", matrix", strings.Join(matrix(c.N), " "), strings.Join(c.Matrix, " "))
	}
	if c.N >= hadamard.Block && c.N&(c.N-1) == 0 {
		got := make([]float32, c.N)
		hadamard.Transform(got, x, make([]uint32, c.N))
		t.same(label+", by the kernels", fmt.Sprint(asFloat64(got)), fmt.Sprint(c.Unscaled))
	}
	if c.N == hadamard.Block { // as rows are rotated
		hadamard.Blocks(x)
		for i := range x {
			x[i] /= 8
		}
		t.same(label+", as rows are rotated", bitsText(x), normal(c.Y))
	}
	return nil
}

func asFloat64(list []float32) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

// matrix is the signs of the matrix of n, a line a row.
func matrix(n int) []string {
	rows := make([]string, n)
	for i := range rows {
		row := make([]byte, n)
		for j := range row {
			row[j] = "+-"[bits.OnesCount(uint(i&j))%2]
		}
		rows[i] = string(row)
	}
	return rows
}
