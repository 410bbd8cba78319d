package formats

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// form is one format of elements.json or casts.json.
type form struct {
	Bits    string `json:"float32_bits"`
	Columns []string
	Rows    [][]json.RawMessage
}

// formats checks values of codes, and casts.
func (t *tally) formats(all map[string]json.RawMessage) error {
	for name, raw := range all {
		e, ok := elements()[name]
		if !ok {
			t.cannot++
			continue
		}
		var f form
		// Of elements.json, "values" and such are for people.
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for code, want := range strings.Fields(f.Bits) {
			t.same(fmt.Sprintf("%s code %d", name, code), bitsText([]float32{e.value(code)}), normal(want))
			if got, ok := decodedByKernels(name, code); ok {
				t.same(fmt.Sprintf("%s code %d, decoded as rows are", name, code), bitsText([]float32{got}), normal(want))
			}
		}
		for i, row := range f.Rows {
			if err := t.casts(name, e, f.Columns, row); err != nil {
				return fmt.Errorf("%s, row %d: %w", name, i, err)
			}
		}
	}
	return nil
}

// casts checks a number's codes by every library.
func (t *tally) casts(name string, e element, columns []string, row []json.RawMessage) error {
	if len(row) != len(columns) || len(row) == 0 {
		return fmt.Errorf("%d fields, want %d", len(row), len(columns))
	}
	var in string
	if err := json.Unmarshal(row[0], &in); err != nil {
		return err
	}
	list, err := floats(in)
	if err != nil || len(list) != 1 {
		return cmp.Or(err, fmt.Errorf("input %q, want one number", in))
	}
	for i, column := range columns[1:] {
		var want *int
		if err := json.Unmarshal(row[i+1], &want); err != nil {
			return err
		}
		t.cast(fmt.Sprintf("%s of %s, %s", name, in, column), castOf(name, e, column, list[0]), want)
	}
	if want, ok := encodedByKernels(name, list[0]); ok {
		got := castOf(name, e, exactColumn, list[0])
		if list[0] != list[0] || math.IsInf(float64(list[0]), 0) || float64(abs(list[0])) > e.largest {
			got = castOf(name, e, "torch", list[0])
			if name == "BF16" { // whose NaNs keep their payload here
				return nil
			}
		}
		t.cast(fmt.Sprintf("%s of %s, encoded as rows are", name, in), want, &got.code)
	}
	return nil
}

func (t *tally) cast(label string, got answer, want *int) {
	switch {
	case got.unknown:
		t.cannot++
	case got.none && want == nil:
		t.ok++
	case got.none || want == nil:
		t.wrong++
		fmt.Fprintf(t.out, "%s: %s: WRONG: one of the two is no number: got %v\n", t.file, label, got)
	default:
		t.same(label, fmt.Sprint(got.code), fmt.Sprint(*want))
	}
}

// answer is a code, or none, or what a library leaves to chance.
type answer struct {
	code          int
	none, unknown bool
}

// The columns of exact rules.
const (
	exactColumn = "nearest_even_saturating"
	scaleColumn = "nearest_ties_up"
)

// castOf is what a column holds for v.
func castOf(name string, e element, column string, v float32) answer {
	switch {
	case e.special == scale:
		return scaleCast(column, v)
	case column == "gguf_ue4m3":
		return answer{code: ue4m3(v)}
	case v != v:
		return nanCast(name, column, v)
	}
	switch column {
	case exactColumn, "torchao":
		return answer{code: e.code(float64(v), saturate)}
	case "compressed-tensors": // has no −0, but −0.1 becomes it
		return answer{code: e.code(float64(v+0), saturate)}
	case "torch", "ml_dtypes", "numpy":
		return answer{code: e.code(float64(v), overflowOf(name, column))}
	}
	return answer{unknown: true}
}

// overflowOf is what a library does with numbers that are too large.
func overflowOf(name, library string) overflow {
	switch e := elements()[name]; {
	case e.special == ieee:
		return overflowInf
	case e.special == fnuz, e.special == onlyNaN && library == "ml_dtypes":
		return overflowNaN
	}
	return saturate
}

// nanCast is the code of a NaN.
func nanCast(name, column string, v float32) answer {
	bits := math.Float32bits(v)
	e := elements()[name]
	sign := int(bits>>31) * e.sign()
	payload := int(bits>>13) & 0x3ff // of FP16
	switch {
	case column == exactColumn:
		return answer{none: true}
	case e.special == fnuz:
		return answer{code: e.sign()}
	case e.special == onlyNaN:
		return answer{code: sign | (e.sign() - 1)}
	case e.special == finite && column == "ml_dtypes": // ∓0
		return answer{code: e.sign() - sign}
	case e.special == finite && column == "compressed-tensors":
		return answer{code: 0}
	case e.special == finite:
		return answer{unknown: true}
	}
	switch name + " " + column {
	case "BF16 torch":
		return answer{code: 0xffff}
	case "BF16 ml_dtypes":
		return answer{code: sign | 0x7fc0}
	case "E5M2 torch":
		return answer{code: sign | 0x7f}
	case "E5M2 ml_dtypes":
		return answer{code: sign | 0x7e}
	case "FP16 torch":
		return answer{code: sign | 0x7e00 | payload}
	case "FP16 numpy":
		return answer{code: sign | 0x7c00 | max(payload, 1)}
	}
	return answer{unknown: true}
}

// ue4m3 is gguf's E4M3 without a sign, whose ties go up, and which has 448 for all from 256 on.
func ue4m3(v float32) int {
	if !(v > 0) {
		return 0
	}
	r := e4m3.round(float64(v), func(x float64) float64 { return math.Floor(x + 0.5) })
	if r >= 256 {
		r = e4m3.largest
	}
	return e4m3.magnitude(r)
}

// scaleCast is a cast to E8M0. Libraries round normal numbers by the first bit of the mantissa, and
// subnormal ones up to the next power of two.
func scaleCast(column string, v float32) answer {
	bits := math.Float32bits(v)
	positive := v > 0 || v != v
	magnitude := int(bits &^ (1 << 31))
	code := min((magnitude+1<<22)>>23, 255)
	if v != v || magnitude >= 0x7f800000 {
		code = 255
	}
	switch {
	case column == scaleColumn && !positive:
		return answer{none: true}
	case column == scaleColumn && magnitude < 1<<23: // 2⁻¹²⁷ or 2⁻¹²⁶: half way is 1.5·2⁻¹²⁷
		return answer{code: boolInt(magnitude >= 3<<21)}
	case column == "ml_dtypes" && !positive:
		return answer{code: 255}
	case column != scaleColumn && magnitude < 1<<23:
		return answer{code: boolInt(magnitude > 1<<22)}
	}
	return answer{code: code}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func abs(v float32) float32 { return float32(math.Abs(float64(v))) }
