// Package formats is a command of bench: it checks number formats of few bits against tables that
// other libraries computed.
package formats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

const usage = `usage: go run ./bench formats FILE…

Computes what the tables of the files hold, and compares bit for bit: values of all codes, casts from float32, blocks of
MXFP4, MXFP8 and NVFP4, fp8 weights with scales, and Hadamard transforms. Every rule of a library that a table asks for is
computed by its formula, slowly; where it is also one that this library sends rows by, the library's kernels must agree
(MXFP4: EVEN; MXFP8: E4M3, RCEIL; NVFP4: torchao's two levels, with the row for the tensor).

A check that fails has a line, and so has each file. What a table says departs from the rule of its library, and what a
library leaves to chance (NaN where there is no code for it), is counted as "cannot".

Exits with 1 if a check is wrong or a file cannot be read, else with 0.
`

// tally counts outcomes of a file's checks.
type tally struct {
	file              string
	out               io.Writer
	ok, wrong, cannot int
}

// same compares texts, and prints a line if they differ.
func (t *tally) same(label, got, want string) {
	if got == want {
		t.ok++
		return
	}
	t.wrong++
	fmt.Fprintf(t.out, "%s: %s: WRONG: got %s, want %s\n", t.file, label, short(got), short(want))
}

func short(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func (t *tally) add(o tally) {
	t.ok, t.wrong, t.cannot = t.ok+o.ok, t.wrong+o.wrong, t.cannot+o.cannot
}

func (t *tally) String() string {
	return fmt.Sprintf("%d ok, %d wrong, %d cannot", t.ok, t.wrong, t.cannot)
}

// Run is the command "formats".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	files, code := harness.Files("formats", usage, args, stdout, stderr)
	if len(files) == 0 {
		return code
	}
	harness.NewPace(stderr, "formats", 1, harness.Times(len(files), 40*time.Millisecond))
	var total tally
	failed := false
	for _, file := range files {
		if ctx.Err() != nil {
			return harness.Failed
		}
		one := tally{file: file, out: stdout}
		if err := one.read(); err != nil {
			fmt.Fprintf(stderr, "bench: %s: %v\n", file, err)
			failed = true
		}
		fmt.Fprintf(stdout, "%s: %v\n", file, &one)
		total.add(one)
	}
	fmt.Fprintln(stdout, &total)
	if failed || total.wrong > 0 {
		return harness.Failed
	}
	return 0
}

// table is what files hold, each some of it.
type table struct {
	// Formats are those of elements.json and casts.json.
	Formats map[string]json.RawMessage
	Cases   []json.RawMessage
	// Parts lists cases, and what of them does not follow its library's rule.
	Parts      [][2]string  `json:"parts_from_exact_rule"`
	GPTOSS     []gptOSS     `json:"gpt_oss"`
	ScaleBytes []scaleByte  `json:"scale_bytes"`
	SuperBlock []superBlock `json:"gguf_super_blocks"`
	Dequantize []tiles
	Quantize   []quantized
	FP4        *fp4InInt8      `json:"fp4_in_int8"`
	Whole      json.RawMessage `json:"quantize_130x128"`
	Sylvester  *bool           `json:"torchao_16_is_sylvester"`
}

// read checks all that the file holds.
func (t *tally) read() error {
	data, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	var all table
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	errs := []error{t.formats(all.Formats), t.cases(all), t.others(all)}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if t.ok+t.wrong+t.cannot == 0 {
		return errors.New("no table of formats")
	}
	return nil
}

// cases checks a file's cases, of the kind that their fields tell.
func (t *tally) cases(all table) error {
	for i, raw := range all.Cases {
		var c map[string]json.RawMessage
		if err := json.Unmarshal(raw, &c); err != nil {
			return fmt.Errorf("case %d: %w", i, err)
		}
		if err := t.case1(c, raw, all.Parts); err != nil {
			return fmt.Errorf("case %d: %w", i, err)
		}
	}
	return nil
}

func (t *tally) case1(c map[string]json.RawMessage, raw json.RawMessage, parts [][2]string) error {
	has := func(name string) bool { return c[name] != nil }
	switch {
	case has("n") && has("x"):
		return t.transform(raw)
	case has("torchao_one_level") || has("torchao_two_level"):
		return t.nvfp4(raw)
	case has("in"):
		return t.mx(c, parts)
	}
	return errors.New("of no known form")
}

// others checks what is beside a file's cases.
func (t *tally) others(all table) error {
	var errs []error
	for _, b := range all.GPTOSS {
		errs = append(errs, b.check(t))
	}
	for _, b := range all.ScaleBytes {
		errs = append(errs, b.check(t))
	}
	for _, b := range all.SuperBlock {
		errs = append(errs, b.check(t))
	}
	for _, b := range all.Dequantize {
		errs = append(errs, b.check(t))
	}
	for _, b := range all.Quantize {
		errs = append(errs, b.check(t))
	}
	if all.FP4 != nil {
		errs = append(errs, all.FP4.check(t))
	}
	if all.Whole != nil { // the table does not hold the weight
		t.cannot++
	}
	if all.Sylvester != nil {
		t.same("torchao's matrix of 16 is Sylvester's", fmt.Sprint(true), fmt.Sprint(*all.Sylvester))
	}
	return errors.Join(errs...)
}
