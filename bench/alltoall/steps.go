package alltoall

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// step is one size's share of a run: its untimed iterations, then its timed ones.
type step struct {
	bytes, warmup, iterations int
}

// plan returns the steps for sizes: the same for every contestant. iterations overrides the rule
// where not 0.
func plan(sizes []int, ranks, iterations int, short bool) []step {
	steps := make([]step, len(sizes))
	for i, bytes := range sizes {
		n := iterations
		if n == 0 {
			n = harness.IterationsFor(int64(bytes)*int64(ranks*(ranks-1)), short)
		}
		steps[i] = step{bytes: bytes, warmup: min(max(n/10, 3), 100), iterations: n}
	}
	return steps
}

// String is the form in which a step is told to a rank.
func (s step) String() string {
	return fmt.Sprintf("%d:%d:%d", s.bytes, s.warmup, s.iterations)
}

// stepArguments writes steps as the arguments of a rank.
func stepArguments(steps []step) []string {
	args := make([]string, len(steps))
	for i, s := range steps {
		args[i] = s.String()
	}
	return args
}

// parseSteps reads what stepArguments wrote.
func parseSteps(args []string) ([]step, error) {
	steps := make([]step, len(args))
	for i, arg := range args {
		fields := strings.Split(arg, ":")
		if len(fields) != 3 {
			return nil, fmt.Errorf("step %q: want BYTES:WARMUP:ITERATIONS", arg)
		}
		s := &steps[i]
		for k, to := range []*int{&s.bytes, &s.warmup, &s.iterations} {
			n, err := strconv.ParseUint(fields[k], 10, 31)
			if err != nil {
				return nil, fmt.Errorf("step %q: want BYTES:WARMUP:ITERATIONS: %w", arg, err)
			}
			*to = int(n)
		}
		if s.bytes < 1 || s.bytes > harness.MaxBytes || s.iterations < 1 {
			return nil, fmt.Errorf("step %q: want 1 to %d bytes and at least 1 iteration", arg, harness.MaxBytes)
		}
	}
	return steps, nil
}
