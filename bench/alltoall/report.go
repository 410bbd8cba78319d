package alltoall

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A rank tells what it measured in a file of its own, which ranks in C write as well: a line
// "version V", a line "step BYTES WRONG NS NS NS..." for each step, and a line "end" to show that
// nothing is missing.

// report is what one rank says.
type report struct {
	version string
	timings []timing
}

func reportPath(dir string, rank int) string {
	return filepath.Join(dir, "rank."+strconv.Itoa(rank))
}

func writeReport(dir string, rank int, r report) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version %s\n", r.version)
	for _, t := range r.timings {
		fmt.Fprintf(&b, "step %d %d", t.bytes, t.wrong)
		for _, d := range t.took {
			fmt.Fprintf(&b, " %d", d.Nanoseconds())
		}
		b.WriteByte('\n')
	}
	b.WriteString("end\n")
	return os.WriteFile(reportPath(dir, rank), b.Bytes(), 0o600)
}

func readReport(dir string, rank int, steps []step) (report, error) {
	data, err := os.ReadFile(reportPath(dir, rank))
	if err != nil {
		return report{}, fmt.Errorf("rank %d left no result: %w", rank, err)
	}
	r, err := parseReport(data)
	if err != nil {
		return report{}, fmt.Errorf("result of rank %d: %w", rank, err)
	}
	if err := r.matches(steps); err != nil {
		return report{}, fmt.Errorf("result of rank %d: %w", rank, err)
	}
	return r, nil
}

func parseReport(data []byte) (report, error) {
	var r report
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, len(data)+1)
	for in.Scan() {
		word, rest, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "version":
			r.version = rest
		case "step":
			t, err := parseTiming(rest)
			if err != nil {
				return r, err
			}
			r.timings = append(r.timings, t)
		case "end":
			return r, nil
		default:
			return r, fmt.Errorf("line %q makes no sense", in.Text())
		}
	}
	return r, fmt.Errorf("no end after %d steps", len(r.timings))
}

func parseTiming(line string) (timing, error) {
	fields := strings.Fields(line)
	numbers := make([]int, len(fields))
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 {
			return timing{}, fmt.Errorf("field %d of a step is %q, want a number of 0 or more", i+1, f)
		}
		numbers[i] = n
	}
	if len(numbers) < 3 {
		return timing{}, fmt.Errorf("a step of %d fields, want bytes, wrong bytes and times", len(numbers))
	}
	t := timing{bytes: numbers[0], wrong: numbers[1]}
	for _, n := range numbers[2:] {
		t.took = append(t.took, time.Duration(n))
	}
	return t, nil
}

// matches reports whether r says what was asked for.
func (r report) matches(steps []step) error {
	if len(r.timings) != len(steps) {
		return fmt.Errorf("%d steps, want %d", len(r.timings), len(steps))
	}
	for i, t := range r.timings {
		if t.bytes != steps[i].bytes || len(t.took) != steps[i].iterations {
			return fmt.Errorf("step %d has %d bytes and %d iterations, want %d and %d",
				i, t.bytes, len(t.took), steps[i].bytes, steps[i].iterations)
		}
	}
	return nil
}
