package formats

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// mxBlock is how many numbers share a scale in MX formats.
const mxBlock = 32

// mxAnswer is a block as a library writes it, and reads it.
type mxAnswer struct {
	Scale       int
	Data        string
	Dequantized string
	InBF16      string `json:"dequantized_bfloat16"`
}

// mx checks the answers of a case of mxfp4.json or mxfp8.json. Its other fields are names.
func (t *tally) mx(c map[string]json.RawMessage, parts [][2]string) error {
	var name, in string
	if err := json.Unmarshal(c["name"], &name); err != nil {
		return err
	}
	if err := json.Unmarshal(c["in"], &in); err != nil {
		return err
	}
	block, err := floats(in)
	if err == nil && len(block) != mxBlock {
		err = fmt.Errorf("%d numbers, want %d", len(block), mxBlock)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, eight := c["e4m3_floor"]
	for key, raw := range c {
		if key == "name" || key == "in" {
			continue
		}
		var want mxAnswer
		if err := json.Unmarshal(raw, &want); err != nil {
			return fmt.Errorf("%s, %s: %w", name, key, err)
		}
		if slices.Contains(parts, [2]string{name, key}) {
			t.cannot++
			continue
		}
		t.mxAnswer(name+", "+key, key, eight, block, want)
	}
	return nil
}

// mxAnswer checks one library's answer.
func (t *tally) mxAnswer(label, key string, eight bool, block []float32, want mxAnswer) {
	library, rule, _ := strings.Cut(key, "_")
	e := e2m1
	switch {
	case library == "e5m2":
		e = e5m2
	case eight:
		e = e4m3
	}
	w := writer{element: e, order: pairs}
	switch {
	case key == "compressed_tensors" && eight && !isFinite(block):
		t.cannot++
		return
	case key == "compressed_tensors":
		w.scale, w.noMinusZero, w.overflows = even(1.75), !eight, !eight
	case library == "gguf":
		w.scale, w.order, w.gguf = floorInFloat32, halves, true
	case rule == "floor":
		w.scale = floor
	case rule == "ceil":
		w.scale = ceil
	case rule == "rceil":
		w.scale = ceilOfRatio
	case rule == "even":
		w.scale = even(2 - math.Ldexp(1, -1-e.mantissa))
	default:
		t.cannot++
		return
	}
	t.mxWritten(label, w, block, want)
	t.mxKernels(label, key, block, want)
}

func (t *tally) mxWritten(label string, w writer, block []float32, want mxAnswer) {
	got := w.write(block)
	t.same(label+", scale", fmt.Sprint(got.Scale), fmt.Sprint(want.Scale))
	if want.Scale == 255 { // the codes of a block that is NaN do not matter
		return
	}
	t.same(label+", data", got.Data, want.Data)
	if want.Dequantized != "" {
		t.same(label+", dequantized", got.Dequantized, normal(want.Dequantized))
	}
	if want.InBF16 != "" {
		list, err := floats(got.Dequantized)
		if err == nil {
			t.same(label+", dequantized", bitsText(toBF16(list)), normal(want.InBF16))
		}
	}
}

// mxKernels compares with the formats that rows travel in.
func (t *tally) mxKernels(label, key string, block []float32, want mxAnswer) {
	f := quant.MXFP4
	switch key {
	case "e4m3_rceil":
		f = quant.MXFP8
	case "torchao_even":
	default:
		return
	}
	if !isFinite(block) { // an infinity makes the block NaN
		t.cannot++
		return
	}
	got := encode(f, block)
	t.same(label+", encoded as rows are", hex.EncodeToString(got), fmt.Sprintf("%02x%s", want.Scale, want.Data))
	t.same(label+", decoded as rows are", bitsText(decode(f, got, mxBlock)), normal(want.Dequantized))
}

func isFinite(block []float32) bool {
	return !slices.ContainsFunc(block, func(v float32) bool { return v-v != 0 })
}

// writer writes blocks as one library does.
type writer struct {
	element element
	// scale is the exponent for a block of a largest magnitude.
	scale func(e element, largest float64) int
	order func(codes []int) []byte
	// noMinusZero: −0 is written as 0. overflows: a block that is not finite is written as zeros.
	noMinusZero, overflows bool
	// gguf: ties go down, there is no −0, codes stand for finite numbers, and the scale's byte
	// overflows.
	gguf bool
}

func (w writer) write(block []float32) mxAnswer {
	largest, nan := 0.0, false
	for _, v := range block {
		largest, nan = max(largest, math.Abs(float64(v))), nan || v != v
	}
	exponent := -127
	switch {
	case w.overflows && (nan || math.IsInf(largest, 0)):
		exponent, block = 0, make([]float32, len(block))
	case nan:
		exponent = 128
	case w.gguf && largest > 0:
		exponent = int(byte(w.scale(w.element, largest)+127)) - 127
	case largest > 0:
		exponent = min(max(w.scale(w.element, largest), -127), 127)
	}
	codes, values := make([]int, len(block)), make([]float32, len(block))
	for i, v := range block {
		codes[i] = w.code(v, exponent)
		values[i] = float32(math.Ldexp(float64(w.element.value(codes[i])), exponent))
	}
	data := make([]byte, len(codes))
	for i, c := range codes {
		data[i] = byte(c)
	}
	if w.element == e2m1 {
		data = w.order(codes)
	}
	return mxAnswer{Scale: exponent + 127, Data: hex.EncodeToString(data), Dequantized: bitsText(values)}
}

// code is that of v under a scale.
func (w writer) code(v float32, exponent int) int {
	q := math.Ldexp(float64(v), -exponent)
	switch {
	case v != v, v == 0 && w.noMinusZero:
		return 0
	case w.gguf:
		down := func(x float64) float64 { return math.Ceil(x - 0.5) }
		c := w.element.magnitude(min(w.element.round(math.Abs(q), down), w.element.largest))
		for math.IsInf(float64(scaled(byte(c), exponent+127)), 0) {
			c--
		}
		if c > 0 && v < 0 {
			c |= w.element.sign()
		}
		return c
	}
	return w.element.code(q, saturate)
}

// exponentOf is floor(log2 a), of an infinity 128.
func exponentOf(a float64) int {
	if math.IsInf(a, 0) {
		return 128
	}
	_, e := math.Frexp(a)
	return e - 1
}

func (e element) top() int { return exponentOf(e.largest) }

func floor(e element, a float64) int { return exponentOf(a) - e.top() }

// floorInFloat32 is floor of a logarithm that is rounded.
func floorInFloat32(e element, a float64) int {
	return int(math.Floor(float64(float32(math.Log2(a))))) - e.top()
}

func ceil(e element, a float64) int {
	k := exponentOf(a)
	if a > math.Ldexp(1, k) && !math.IsInf(a, 0) {
		k++
	}
	return k - e.top()
}

// ceilOfRatio is the least exponent at which nothing is cut.
func ceilOfRatio(e element, a float64) int {
	if math.IsInf(a, 0) {
		return 127
	}
	k := exponentOf(a) - e.top()
	if a > math.Ldexp(e.largest, k) {
		k++
	}
	return k
}

// even rounds up from a mantissa on.
func even(from float64) func(element, float64) int {
	return func(e element, a float64) int {
		k := exponentOf(a)
		if a >= math.Ldexp(from, k) && !math.IsInf(a, 0) {
			k++
		}
		return k - e.top()
	}
}

// pairs puts neighbours in one byte, the first one in its lower half.
func pairs(codes []int) []byte {
	out := make([]byte, len(codes)/2)
	for i := range out {
		out[i] = byte(codes[2*i] | codes[2*i+1]<<4)
	}
	return out
}

// halves puts in one byte what is half a block apart.
func halves(codes []int) []byte {
	out := make([]byte, len(codes)/2)
	for i := range out {
		out[i] = byte(codes[i] | codes[i+len(out)]<<4)
	}
	return out
}

// scaleByte is what libraries read of one block under a scale.
type scaleByte struct {
	Scale        int
	Data         string
	Torchao      string `json:"torchao_float32"`
	TorchaoBF16  string `json:"torchao_bfloat16"`
	Transformers string `json:"transformers_float32"`
	TransBF16    string `json:"transformers_bfloat16"`
	CompBF16     string `json:"compressed_tensors_bfloat16"`
	GGUF         string `json:"gguf_float32_its_own_order"`
}

func (b scaleByte) check(t *tally) error {
	data, err := bytesOf(b.Data, mxBlock/2)
	if err != nil {
		return err
	}
	label := fmt.Sprintf("scale byte %d", b.Scale)
	byValue := make([]float32, mxBlock) // byte 255 as 2^128
	own := make([]float32, mxBlock)
	for i := range byValue {
		byValue[i] = scaled(data[i/2]>>(4*(i%2)), b.Scale)
		own[i] = scaled(data[i%16]>>(4*(i/16)), b.Scale) + 0 // no −0
	}
	rows := decode(quant.MXFP4, append([]byte{byte(b.Scale)}, data...), mxBlock)
	t.same(label+", torchao, decoded as rows are", bitsText(rows), normal(b.Torchao))
	t.same(label+", gguf", bitsText(own), normal(b.GGUF))
	if b.Scale < 255 {
		t.same(label+", torchao in bfloat16", bitsText(rows), normal(b.TorchaoBF16))
		t.same(label+", compressed-tensors in bfloat16", bitsText(toBF16(rows)), normal(b.CompBF16))
	} else {
		t.cannot += 2
	}
	t.same(label+", transformers", bitsText(byValue), normal(b.Transformers))
	t.same(label+", transformers in bfloat16", bitsText(byValue), normal(b.TransBF16))
	return nil
}

// scaled is a code of E2M1 under a scale byte.
func scaled(code byte, scale int) float32 {
	return float32(math.Ldexp(float64(e2m1.value(int(code&15))), scale-127))
}

// gptOSS is weights of a checkpoint of gpt-oss: blocks [experts, rows, groups, 16].
type gptOSS struct {
	Shape       []int `json:"blocks_shape"`
	Blocks      string
	Scales      string
	Dequantized string
}

func (g gptOSS) check(t *tally) error {
	if len(g.Shape) != 4 {
		return fmt.Errorf("gpt_oss: %d sizes, want 4", len(g.Shape))
	}
	experts, rows, groups := g.Shape[0], g.Shape[1], g.Shape[2]
	blocks, err := bytesOf(g.Blocks, experts*rows*groups*mxBlock/2)
	if err != nil {
		return fmt.Errorf("gpt_oss: %w", err)
	}
	scales, err := bytesOf(g.Scales, experts*rows*groups)
	if err != nil {
		return fmt.Errorf("gpt_oss: %w", err)
	}
	out := make([]float32, experts*rows*groups*mxBlock)
	for i, s := range scales { // the last two axes are swapped
		expert, row, group := i/(rows*groups), i/groups%rows, i%groups
		block := decode(quant.MXFP4, append([]byte{s}, blocks[16*i:16*i+16]...), mxBlock)
		for j, v := range block {
			out[(expert*groups*mxBlock+group*mxBlock+j)*rows+row] = v
		}
	}
	t.same("gpt-oss", bitsText(out), normal(g.Dequantized))
	return nil
}
