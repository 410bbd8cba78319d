package allreduce

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// row is the outcome for one size and algorithm, and a line of the JSON file. The field names say
// gbps for what is GB/s, 10⁹ bytes a second.
type row struct {
	Who       string  `json:"who"`
	Version   string  `json:"version"`
	Algorithm string  `json:"algorithm"`
	Nodes     int     `json:"nodes"`
	Each      int     `json:"each"`
	Rate      int     `json:"rate_mbit"`
	Ranks     int     `json:"ranks"`
	Bytes     int     `json:"bytes"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Algbw     float64 `json:"algbw_gbps"`
	Busbw     float64 `json:"busbw_gbps"`
	Crossing  int     `json:"crossing_bytes"`
	Faster    float64 `json:"faster"`
	Wrong     int     `json:"wrong"`
}

// rows are those of each size, ours first, of the turns that were taken to their end.
func (c *comparison) rows() (rows []row) {
	for i := range c.Sizes {
		at := len(rows)
		for _, who := range c.contestants {
			for a := range who.algorithms {
				if len(who.samples) > 0 {
					rows = append(rows, c.row(who, i, a))
				}
			}
		}
		for k := at; k < len(rows); k++ {
			if rows[k].Faster == 0 {
				rows[k].Faster = rows[at].P50 / rows[k].P50
			}
		}
	}
	return rows
}

// row is the medians over a contestant's turns.
func (c *comparison) row(who *contestant, size, algorithm int) row {
	var p50, p99 []time.Duration
	var faster []float64
	r := row{
		Who: who.who, Version: who.version, Algorithm: who.algorithms[algorithm],
		Nodes: c.Nodes, Each: c.Each, Rate: c.Rate, Ranks: c.ranks(), Bytes: c.Sizes[size],
	}
	for _, turn := range who.samples {
		s := turn[size][algorithm]
		p50, p99, faster = append(p50, s.p50), append(p99, s.p99), append(faster, s.faster)
		r.Crossing = s.crossing
		r.Wrong += s.wrong
	}
	r.P50, r.P99 = harness.Microseconds(harness.Median(p50)), harness.Microseconds(harness.Median(p99))
	r.Faster = median(faster)
	r.Algbw = float64(r.Bytes) / max(r.P50, 1e-3) / 1e3
	r.Busbw = r.Algbw * 2 * float64(r.Ranks-1) / float64(r.Ranks)
	return r
}

// writeTable writes rows in the manner of nccl-tests.
func (c *comparison) writeTable(w io.Writer, rows []row) {
	fmt.Fprintf(w, "# switchyard bench allreduce: %d nodes of %d ranks, %s, %s/%s, %d CPUs%s; rounds: %d\n",
		c.Nodes, c.Each, c.linksText(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), c.load, c.Rounds)
	for _, line := range c.leftOut {
		fmt.Fprintf(w, "# %s\n", strings.ReplaceAll(line, "\n", "\n#   "))
	}
	fmt.Fprintln(w, "# size: bytes of the vector on each rank. GB = 10⁹ bytes; algbw = size / p50; busbw = algbw × 2(ranks-1)/ranks.")
	fmt.Fprintln(w, "#")
	fmt.Fprintf(w, "#%10s %10s %6s %6s  %-10s %-14s %11s %11s %12s %12s %13s %7s %7s\n", "size", "count", "type", "redop",
		"who", "algorithm", "p50(us)", "p99(us)", "algbw(GB/s)", "busbw(GB/s)", "crossing(MB)", "faster", "#wrong")
	for _, r := range rows {
		crossing := "-"
		if r.Who == harness.Name {
			crossing = fmt.Sprintf("%.3f", float64(r.Crossing)/1e6)
		}
		fmt.Fprintf(w, " %10d %10d %6s %6s  %-10s %-14s %11.1f %11.1f %12.5f %12.5f %13s %7.2f %7d\n",
			r.Bytes, r.Bytes/4, "float", "sum", r.Who, r.Algorithm, r.P50, r.P99, r.Algbw, r.Busbw, crossing, r.Faster, r.Wrong)
	}
	fmt.Fprintln(w, "#")
	var named []string
	for _, r := range rows {
		if !slices.Contains(named, r.Who) {
			named = append(named, r.Who)
			fmt.Fprintf(w, "# %s: version %s\n", r.Who, r.Version)
		}
	}
}

func (c *comparison) linksText() string {
	switch {
	case c.Nodes == 1:
		return "shared memory"
	case c.Rate == 0:
		return "links as fast as the machine"
	}
	return fmt.Sprintf("links of %d Mbit/s", c.Rate)
}
