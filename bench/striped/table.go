package striped

import (
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// stripedRow is the outcome of one run, and a line of the JSON file. Rate is in Mbit/s.
type stripedRow struct {
	Who      string  `json:"who"`
	Version  string  `json:"version"`
	Fault    string  `json:"fault"`
	Links    int     `json:"links"`
	Parity   int     `json:"parity"`
	Bytes    int     `json:"bytes"`
	Rounds   int     `json:"rounds"`
	Rate     int     `json:"rate_mbit"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P50Ratio float64 `json:"p50_ratio"`
	P99Ratio float64 `json:"p99_ratio"`
	Wrong    int     `json:"wrong"`
	Error    string  `json:"error,omitempty"`
}

// compare sets the ratios of r to the run without a fault, if there was one. A run that failed has
// none.
func (r *stripedRow) compare(healthy stripedRow) {
	if healthy.P99 > 0 && r.Error == "" {
		r.P50Ratio, r.P99Ratio = r.P50/healthy.P50, r.P99/healthy.P99
	}
}

// What parity is for, as ratios of 99th percentiles to the run without a fault: with it a slow or
// missing link costs at most the one, without it at least the other.
const (
	mostWithParity     = 1.2
	leastWithoutParity = 5.0
)

// meets says how a row stands to what is wanted of it.
func (r *stripedRow) meets() string {
	switch {
	case r.Fault == faultNone:
		return ""
	case r.Error != "":
		return r.Error
	case r.P99Ratio == 0:
		return "nothing to compare with"
	case r.Parity > 0 && r.P99Ratio <= mostWithParity:
		return fmt.Sprintf("at most %.1f wanted: met", mostWithParity)
	case r.Parity > 0:
		return fmt.Sprintf("at most %.1f wanted: missed", mostWithParity)
	case r.P99Ratio >= leastWithoutParity:
		return fmt.Sprintf("at least %.0f expected: so it is", leastWithoutParity)
	}
	return fmt.Sprintf("at least %.0f expected: it is less", leastWithoutParity)
}

func writeTable(w io.Writer, o *options, rows []stripedRow) {
	fmt.Fprintf(w, "# 2 ranks, %d links of %d Mbit/s, %s there and back a round; ratios of p99 to the run without a fault\n",
		o.links, o.rate, harness.SizeName(o.bytes))
	fmt.Fprintf(w, "#%9s %6s %7s %11s %11s %6s %6s %7s\n", "fault", "code", "rounds", "p50(us)", "p99(us)", "p50 x", "p99 x", "#wrong")
	for _, r := range rows {
		fmt.Fprintf(w, " %9s %6s %7d %11.0f %11.0f %6s %6s %7d  %s\n", r.Fault, fmt.Sprintf("%d+%d", r.Links-r.Parity, r.Parity),
			r.Rounds, r.P50, r.P99, times(r.P50Ratio), times(r.P99Ratio), r.Wrong, r.meets())
	}
	fmt.Fprintf(w, "#\n# %s\n", harness.Version())
}

func times(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio)
}
