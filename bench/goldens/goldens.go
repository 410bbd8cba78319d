// Package goldens is a command of bench: it checks results against vectors that other systems
// computed.
package goldens

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

const usage = `usage: go run ./bench goldens FILE…

Computes every case of files of the form {"cases": [...]} and compares with the results they hold. A case with a "kind" is
a whole layer, one with a "name" and "logits" is a router, one with a "name" and "inputs" is what a trainer's router computes:
losses, biases, capacities, layers. For each case there is a line with its sizes, its worst error, and
"ok", "WRONG: what", or "cannot yet: why" for one that asks for something this library does not have.

Errors are relative: |got - want| / max(|want|, scale). For a router:
  routes     exact: tokens, experts, slots, counts before drops, capacity
  weights    scale is the largest weight wanted; tolerance 1e-6
  losses     scale is 0; tolerance 1e-6
  gradients  scale is the largest gradient wanted of the same loss, or one term of that loss if this is larger: the largest
             |upstream·weight|, or loss/tokens; tolerance 1e-5
For a layer the scale is the mean |want| of the tensor; tolerance 1e-5. For a trainer's router all tolerances are 1e-5, a bias
is relative to its rate or the largest, and where the trainer is known to be wrong (Tutel's counts and capacity with the best
tokens first) its numbers are not compared.

Exits with 1 if a case is wrong or a file cannot be read, else with 0.
`

// result is the outcome of one case.
type result struct {
	// label says which case it is: name and sizes.
	label string
	// worst is the largest relative error of any number.
	worst float64
	// err says what is wrong with the result, or with the case.
	err error
	// skipped says why the library cannot compute the case, or is empty.
	skipped string
}

// String is the line about the case.
func (r result) String() string {
	switch {
	case r.err != nil:
		return fmt.Sprintf("%s: WRONG: %v", r.label, r.err)
	case r.skipped != "":
		return fmt.Sprintf("%s: cannot yet: %s", r.label, r.skipped)
	}
	return fmt.Sprintf("%s: worst error %.1e: ok", r.label, r.worst)
}

// summary counts outcomes.
type summary struct{ ok, wrong, skipped int }

func (s *summary) add(r result) {
	switch {
	case r.err != nil:
		s.wrong++
	case r.skipped != "":
		s.skipped++
	default:
		s.ok++
	}
}

// Run is the command "goldens".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	files, code := harness.Files("goldens", usage, args, stdout, stderr)
	if len(files) == 0 {
		return code
	}
	harness.NewPace(stderr, "goldens", 1, harness.Times(len(files), 40*time.Millisecond))
	var total summary
	malformed := 0
	for _, file := range files {
		cases, err := read(file)
		if err != nil {
			fmt.Fprintf(stderr, "bench: %v\n", err)
			malformed++
			continue
		}
		runFile(ctx, file, cases, stdout, &total)
	}
	fmt.Fprintf(stdout, "%d ok, %d wrong, %d cannot yet, %d files unreadable\n", total.ok, total.wrong, total.skipped, malformed)
	if total.wrong+malformed > 0 || ctx.Err() != nil {
		return harness.Failed
	}
	return 0
}

// read returns the cases of a file.
func read(file string) ([]json.RawMessage, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var content struct {
		Cases []json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if content.Cases == nil {
		return nil, fmt.Errorf("%s: no \"cases\"", file)
	}
	return content.Cases, nil
}

// runFile computes the cases of a file until the context ends, and prints a line about each.
func runFile(ctx context.Context, file string, cases []json.RawMessage, stdout io.Writer, total *summary) {
	for i, raw := range cases {
		if ctx.Err() != nil {
			fmt.Fprintf(stdout, "%s case %d: %v\n", file, i, context.Cause(ctx))
			return
		}
		r := run(ctx, raw)
		total.add(r)
		fmt.Fprintf(stdout, "%s case %d: %v\n", file, i, r)
	}
}

// run computes one case of either form.
func run(ctx context.Context, raw json.RawMessage) result {
	var form struct {
		Kind, Name     string
		Logits, Inputs json.RawMessage
	}
	if err := json.Unmarshal(raw, &form); err != nil {
		return result{label: "malformed", err: err}
	}
	switch {
	case form.Kind != "":
		return runLayerCase(ctx, raw)
	case form.Name != "" && form.Logits != nil:
		return runRouterCase(raw)
	case form.Name != "" && form.Inputs != nil:
		return runTrainerCase(raw)
	}
	return result{label: "malformed", err: errors.New(`neither "kind" nor "name" and "logits" or "inputs"`)}
}
