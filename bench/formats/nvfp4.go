package formats

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

const nvBlock = 16

// nvAnswer is a row as a library writes it, and reads it.
type nvAnswer struct {
	Scales, Data string
	Dequantized  string
	InBF16       string `json:"dequantized_bfloat16"`
	Tensor       string `json:"per_tensor_scale"`
	Global       string `json:"global_scale"`
}

// nvCase is a case of nvfp4.json.
type nvCase struct {
	Name, In string
	One      *nvAnswer `json:"torchao_one_level"`
	Two      *nvAnswer `json:"torchao_two_level"`
	Comp     *nvAnswer `json:"compressed_tensors"`
}

func (t *tally) nvfp4(raw json.RawMessage) error {
	var c nvCase
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	row, err := floats(c.In)
	if err != nil || len(row)%nvBlock != 0 {
		return fmt.Errorf("%s: %d numbers: %w", c.Name, len(row), err)
	}
	largest := float32(0)
	for _, v := range row {
		largest = max(largest, abs(v))
	}
	if largest-largest != 0 || largest == 0 { // libraries answer NaN, zeros or a scale of 1
		t.cannot++
		return nil
	}
	if c.One != nil {
		t.nv(c.Name+", one level", row, oneLevel{}, *c.One)
	}
	if c.Two != nil {
		tensor := largest / (448 * 6)
		t.same(c.Name+", tensor scale", bitsText([]float32{tensor}), c.Two.Tensor)
		t.nv(c.Name+", two levels", row, twoLevels{tensor}, *c.Two)
		t.nvKernels(c.Name, row, tensor, *c.Two)
	}
	if c.Comp != nil {
		global := 1 / largest * (448 * 6) // torch's quotient of a number and a tensor
		if global-global != 0 {
			global = 1
		}
		t.same(c.Name+", global scale", bitsText([]float32{global}), c.Comp.Global)
		t.nv(c.Name+", compressed-tensors", row, inverse{global}, *c.Comp)
	}
	return nil
}

// nvRule is how a library chooses a block's scale, rounds x, and reads a code's value.
type nvRule interface {
	scale(largest float32) float32
	element(x, scale float32) float32
	value(v, scale float32) float32
	// minusZero tells whether it writes −0.
	minusZero() bool
}

// toE4M3 rounds a scale.
func toE4M3(v float32) float32 { return e4m3.value(e4m3.code(float64(v), saturate)) }

func clamp(v float32) float32 { return min(max(v, 1.0/64), 448) }

type oneLevel struct{}

func (oneLevel) scale(largest float32) float32    { return toE4M3(clamp(largest / 6)) }
func (oneLevel) element(x, scale float32) float32 { return x * (1 / scale) }
func (oneLevel) value(v, scale float32) float32   { return v * scale }
func (oneLevel) minusZero() bool                  { return true }

type twoLevels struct{ tensor float32 }

func (r twoLevels) scale(largest float32) float32    { return toE4M3(clamp(largest / 6 / r.tensor)) }
func (r twoLevels) element(x, scale float32) float32 { return x * (1 / r.tensor / scale) }
func (r twoLevels) value(v, scale float32) float32   { return v * (scale * r.tensor) }
func (r twoLevels) minusZero() bool                  { return true }

// inverse is compressed-tensors', whose scale of the tensor divides.
type inverse struct{ global float32 }

func (r inverse) scale(largest float32) float32 {
	if s := toE4M3(min(r.global*(largest/6), 448)); s > 0 {
		return s
	}
	return 1.0 / 8
}
func (r inverse) element(x, scale float32) float32 { return x / (scale / r.global) }
func (r inverse) value(v, scale float32) float32   { return v * (scale / r.global) }
func (r inverse) minusZero() bool                  { return false }

func (t *tally) nv(label string, row []float32, rule nvRule, want nvAnswer) {
	var scales []byte
	codes, values := make([]int, len(row)), make([]float32, len(row))
	for b := 0; b < len(row); b += nvBlock {
		largest := float32(0)
		for _, v := range row[b : b+nvBlock] {
			largest = max(largest, abs(v))
		}
		scale := rule.scale(largest)
		scales = append(scales, byte(e4m3.code(float64(scale), saturate)))
		for i := b; i < b+nvBlock; i++ {
			x := rule.element(row[i], scale)
			codes[i] = e2m1.code(float64(x), saturate)
			if x == 0 && !rule.minusZero() {
				codes[i] = 0
			}
			values[i] = rule.value(e2m1.value(codes[i]), scale)
		}
	}
	t.same(label+", scales", hex.EncodeToString(scales), want.Scales)
	t.same(label+", data", hex.EncodeToString(pairs(codes)), want.Data)
	if want.Dequantized != "" {
		t.same(label+", dequantized", bitsText(values), normal(want.Dequantized))
	}
	if want.InBF16 != "" {
		t.same(label+", dequantized", bitsText(toBF16(values)), normal(want.InBF16))
	}
}

// nvKernels compares with rows that travel, whose scale of the row is not less than 2⁻¹²⁰.
func (t *tally) nvKernels(name string, row []float32, tensor float32, want nvAnswer) {
	if float64(tensor) < math.Ldexp(1, -120) {
		t.cannot++
		return
	}
	got := encode(quant.NVFP4, row)
	var scales, data []byte
	for b := 4; b < len(got); b += 1 + nvBlock/2 {
		scales, data = append(scales, got[b]), append(data, got[b+1:b+9]...)
	}
	t.same(name+", scales as of rows", hex.EncodeToString(scales), want.Scales)
	t.same(name+", data as of rows", hex.EncodeToString(data), want.Data)
	t.same(name+", decoded as rows are", bitsText(decode(quant.NVFP4, got, len(row))), normal(want.Dequantized))
}

// superBlock is gguf's: four scales, then four groups of eight bytes.
type superBlock struct {
	Bytes, Dequantized string
}

func (s superBlock) check(t *tally) error {
	b, err := bytesOf(s.Bytes, 36)
	if err != nil {
		return fmt.Errorf("gguf_super_blocks: %w", err)
	}
	var out []float32
	for g, scale := range b[:4] {
		data := b[4+8*g:][:8]
		v := e4m3.value(int(scale & 0x7f))
		if v != v {
			v = 0
		}
		group := make([]float32, nvBlock)
		for i, d := range data {
			group[i], group[i+8] = (e2m1.value(int(d&15))+0)*v, (e2m1.value(int(d>>4))+0)*v // no −0
		}
		out = slices.Concat(out, group)
	}
	t.same("gguf super-block", bitsText(out), normal(s.Dequantized))
	return nil
}
