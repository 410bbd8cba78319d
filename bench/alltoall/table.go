package alltoall

import (
	"fmt"
	"io"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// writeTable writes rows, grouped by size, in the manner of nccl-tests, and below it how switchyard
// compares.
func writeTable(w io.Writer, rows [][]row) {
	fmt.Fprintln(w, "# size: bytes that a rank sends in one all-to-all, those to itself included: per peer × ranks.")
	fmt.Fprintln(w, "# GB = 10⁹ bytes; algbw = size / p50; busbw = algbw × (ranks-1) / ranks.")
	fmt.Fprintln(w, "#")
	fmt.Fprintf(w, "#%11s %9s  %-18s %-15s %11s %11s %12s %12s %7s\n",
		"size", "per peer", "who", "algorithm", "p50(us)", "p99(us)", "algbw(GB/s)", "busbw(GB/s)", "#wrong")
	for _, group := range rows {
		for _, r := range group {
			fmt.Fprintf(w, " %11d %9s  %-18s %-15s %11.2f %11.2f %12s %12s %7d\n",
				r.BytesPerPeer*r.Ranks, harness.SizeName(r.BytesPerPeer), r.name(), r.Algorithm, r.P50, r.P99,
				bandwidth(r.Algbw), bandwidth(r.Busbw), r.Wrong)
		}
	}
	writeVersions(w, rows)
	if len(rows) > 0 {
		for i, r := range rows[0] {
			if r.ours() {
				writeRatios(w, rows, i)
			}
		}
	}
}

func writeVersions(w io.Writer, rows [][]row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w, "#")
	for _, r := range rows[0] {
		fmt.Fprintf(w, "# %s: version %s\n", r.name(), r.Version)
	}
}

// writeRatios compares the contestant in column ours of rows with every peer.
func writeRatios(w io.Writer, rows [][]row, ours int) {
	var names strings.Builder
	var titles strings.Builder
	for _, r := range rows[0] {
		if !r.ours() {
			fmt.Fprintf(&names, "  %-20s", r.name())
			fmt.Fprintf(&titles, "  %6s %6s %6s", "busbw", "p50", "p99")
		}
	}
	if names.Len() == 0 {
		return
	}
	fmt.Fprintf(w, "#\n# %s divided by each peer: more is better for busbw, less is better for the times p50 and p99\n", rows[0][ours].name())
	fmt.Fprintf(w, "#%9s%s\n", "", strings.TrimRight(names.String(), " "))
	fmt.Fprintf(w, "#%9s%s\n", "per peer", titles.String())
	for _, group := range rows {
		us := group[ours]
		fmt.Fprintf(w, " %9s", harness.SizeName(us.BytesPerPeer))
		for _, r := range group {
			if !r.ours() {
				fmt.Fprintf(w, "  %6s %6s %6s", ratio(us.Busbw/r.Busbw), ratio(us.P50/r.P50), ratio(us.P99/r.P99))
			}
		}
		fmt.Fprintln(w)
	}
}

// bandwidth writes GB/s, small ones so that something is left of them.
func bandwidth(v float64) string {
	if v < 0.001 {
		return fmt.Sprintf("%.1e", v)
	}
	return fmt.Sprintf("%.4f", v)
}

// ratio writes a ratio with three figures that count, as far as six characters go.
func ratio(v float64) string {
	decimals := 4
	for limit := 0.1; v >= limit && decimals > 0; limit *= 10 {
		decimals--
	}
	return fmt.Sprintf("%.*f", decimals, v)
}
