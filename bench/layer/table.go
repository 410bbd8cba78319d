package layer

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// row is the outcome for one pass of a layer in one case, and a line of the JSON file. The field
// names say gbps for what is GB/s, 10⁹ bytes a second.
type row struct {
	Transport string  `json:"transport"`
	Router    string  `json:"router"`
	Ranks     int     `json:"ranks"`
	Tokens    int     `json:"tokens"`
	Dim       int     `json:"dim"`
	Experts   int     `json:"experts"`
	K         int     `json:"k"`
	Pass      string  `json:"pass"`
	P50       float64 `json:"p50_us"`
	Rate      float64 `json:"gbps"`
	Copy      float64 `json:"copy_us"`
	CopyRate  float64 `json:"copy_gbps"`
	OfCopy    float64 `json:"of_copy"`
	Least     float64 `json:"fewest_us"`
	LeastRate float64 `json:"fewest_gbps"`
	OfLeast   float64 `json:"of_fewest"`
	Allocs    int     `json:"allocs_per_op"`
	Wrong     int     `json:"wrong"`
	Version   string  `json:"version"`
}

// row makes the outcome of one pass from the medians.
func (o options) row(transport, route, pass string, took, copied, least time.Duration) row {
	rate := func(copies int, d time.Duration) float64 {
		// Bytes per nanosecond are GB per second.
		return float64(copies*o.rowBytes()*o.ranks) / float64(max(d, 1))
	}
	return row{
		Transport: transport, Router: route, Ranks: o.ranks, Tokens: o.Tokens, Dim: o.Dim, Experts: o.Experts, K: o.K,
		Pass: pass, P50: harness.Microseconds(took), Rate: rate(4, took),
		Copy: harness.Microseconds(copied), CopyRate: rate(4, copied), OfCopy: float64(copied) / float64(max(took, 1)),
		Least: harness.Microseconds(least), LeastRate: rate(2, least), OfLeast: float64(least) / float64(max(took, 1)),
		Version: harness.Version(),
	}
}

// writeTable writes rows and what their columns mean.
func writeTable(w io.Writer, o options, load string, rows []row) {
	fmt.Fprintf(w, "# switchyard bench layer: %d ranks as goroutines × %d tokens × dim %d, %d experts, k = %d; %s/%s, %d CPUs%s\n",
		o.ranks, o.Tokens, o.Dim, o.Experts, o.K, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), load)
	fmt.Fprintf(w, "# %d rounds of %d iterations in turns; version %s\n", o.rounds, o.timed(), harness.Version())
	fmt.Fprint(w, "# copy: 4 copies of k·T rows a rank with Go's copy; fewest: 2, as if ranks read in place; of_: its time / ours; -h says more\n#\n")
	fmt.Fprintf(w, "#%9s %-8s %-8s %11s %8s %11s %8s %8s %11s %8s %9s %9s %6s\n", "transport", "router", "pass", "p50(us)", "GB/s",
		"copy(us)", "GB/s", "of_copy", "fewest(us)", "GB/s", "of_fewest", "allocs/op", "#wrong")
	for _, r := range rows {
		fmt.Fprintf(w, " %9s %-8s %-8s %11.1f %8.2f %11.1f %8.2f %8.2f %11.1f %8.2f %9.2f %9d %6d\n", r.Transport, r.Router, r.Pass,
			r.P50, r.Rate, r.Copy, r.CopyRate, r.OfCopy, r.Least, r.LeastRate, r.OfLeast, r.Allocs, r.Wrong)
	}
}
