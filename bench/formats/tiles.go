package formats

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// tiles is a weight in E4M3 with a scale for each tile.
type tiles struct {
	Shape   [2]int
	Grid    [2]int `json:"scale_shape"`
	Block   [2]int
	Pattern string
	Scales  string              `json:"weight_scale_inv"`
	Samples [][]json.RawMessage `json:"samples_by_formula"`
}

func (w tiles) check(t *tally) error {
	pattern, err := bytesOf(w.Pattern, -1)
	if err != nil || len(pattern) == 0 {
		return fmt.Errorf("dequantize: pattern of %d bytes: %w", len(pattern), err)
	}
	scales, err := floats(w.Scales)
	if err != nil {
		return fmt.Errorf("dequantize: %w", err)
	}
	for _, s := range w.Samples {
		var row, column int
		var want string
		if len(s) != 3 {
			return errors.New("dequantize: a sample is row, column, bits")
		}
		if err := errors.Join(json.Unmarshal(s[0], &row), json.Unmarshal(s[1], &column), json.Unmarshal(s[2], &want)); err != nil {
			return fmt.Errorf("dequantize: %w", err)
		}
		tile := 0
		if w.Block[0] > 0 && w.Block[1] > 0 {
			tile = row/w.Block[0]*w.Grid[1] + column/w.Block[1]
		}
		at := row*w.Shape[1] + column
		if row < 0 || column < 0 || tile < 0 || tile >= len(scales) || at < 0 {
			return fmt.Errorf("dequantize: sample at row %d, column %d of %v", row, column, w.Shape)
		}
		v := e4m3.value(int(pattern[at%len(pattern)])) * scales[tile]
		t.same(fmt.Sprintf("weight %v at %d, %d", w.Shape, row, column), bitsText([]float32{v}), normal(want))
	}
	return nil
}

// quantized is a weight that transformers writes in E4M3.
type quantized struct {
	Format         string `json:"scale_format"`
	Block          [2]int
	Shape          [2]int
	In             string
	Weight         string
	ScaleInv       string `json:"scale_inv"`
	Dequantized    string
	in, read       []float32
	codes          []byte
	scales         []float32
	across, height int
}

func (q quantized) check(t *tally) error {
	var err error
	if q.in, err = floats(q.In); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	if q.Block[0] < 1 || q.Block[1] < 1 || q.Shape[0]*q.Shape[1] != len(q.in) || q.Shape[0]%q.Block[0] != 0 || q.Shape[1]%q.Block[1] != 0 {
		return fmt.Errorf("quantize: %d numbers of shape %v in tiles of %v", len(q.in), q.Shape, q.Block)
	}
	q.across, q.height = q.Shape[1]/q.Block[1], q.Shape[0]/q.Block[0]
	q.read, q.codes = make([]float32, len(q.in)), make([]byte, len(q.in))
	for tile := range q.across * q.height {
		q.write(tile)
	}
	label := fmt.Sprintf("quantize, tiles of %v, scales in %s", q.Block, q.Format)
	t.same(label+", scales", bitsText(q.scales), normal(q.ScaleInv))
	t.same(label+", weight", hex.EncodeToString(q.codes), q.Weight)
	t.same(label+", dequantized", bitsText(q.read), normal(q.Dequantized))
	return nil
}

// write rounds one tile.
func (q *quantized) write(tile int) {
	largest := float32(0)
	q.each(tile, func(i int) { largest = max(largest, abs(q.in[i])) })
	scale := float32(1)
	if largest > 0 {
		scale = 1 / largest * 448 // torch's quotient of a number and a tensor
	}
	inverse := 1 / scale
	if q.Format == "ue8m0" {
		inverse = powerAbove(inverse)
		scale = 1 / inverse
	}
	q.scales = append(q.scales, inverse)
	q.each(tile, func(i int) {
		c := e4m3.code(float64(q.in[i]*scale), saturate)
		q.codes[i], q.read[i] = byte(c), e4m3.value(c)*inverse
	})
}

func (q *quantized) each(tile int, do func(i int)) {
	row, column := tile/q.across*q.Block[0], tile%q.across*q.Block[1]
	for r := row; r < row+q.Block[0]; r++ {
		for c := column; c < column+q.Block[1]; c++ {
			do(r*q.Shape[1] + c)
		}
	}
}

// powerAbove is the least power of two that is not below v.
func powerAbove(v float32) float32 {
	fraction, e := math.Frexp(float64(v))
	if fraction == 0.5 {
		e--
	}
	return float32(math.Ldexp(1, e))
}

// fp4InInt8 is a weight of two E2M1 numbers a byte, with E8M0 scales.
type fp4InInt8 struct {
	Shape       [2]int
	Weight      string
	Scales      string
	Dequantized string
}

func (w fp4InInt8) check(t *tally) error {
	n := w.Shape[0] * w.Shape[1]
	if w.Shape[1]%mxBlock != 0 {
		return fmt.Errorf("fp4_in_int8: shape %v", w.Shape)
	}
	weight, err := bytesOf(w.Weight, n/2)
	if err != nil {
		return fmt.Errorf("fp4_in_int8: %w", err)
	}
	scales, err := bytesOf(w.Scales, n/mxBlock)
	if err != nil {
		return fmt.Errorf("fp4_in_int8: %w", err)
	}
	var src []byte
	for i, s := range scales {
		src = append(append(src, s), weight[16*i:16*i+16]...)
	}
	t.same("fp4 in int8", bitsText(decode(quant.MXFP4, src, n)), normal(w.Dequantized))
	return nil
}
