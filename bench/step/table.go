package step

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// way is what all ranks together have seen of one way to sum.
type way struct {
	piece      int
	step, sync time.Duration
	sent       uint64 // bytes, of the rank with most
	sentBySync uint64 // in Step of all layers
}

// row is one way to sum at one rate, and a line of the JSON file.
type row struct {
	Rate    int     `json:"rate_mbit"`
	Ranks   int     `json:"ranks"`
	Copies  int     `json:"copies"`
	Layers  int     `json:"layers"`
	Tokens  int     `json:"tokens"`
	Dim     int     `json:"dim"`
	Hidden  int     `json:"hidden"`
	Experts int     `json:"experts"`
	K       int     `json:"k"`
	Overlap int     `json:"overlap"`
	Piece   int     `json:"piece_bytes"` // 0: at the end
	Step    float64 `json:"step_ms"`
	Sync    float64 `json:"sync_ms"`
	Compute float64 `json:"compute_ms"`
	Link    float64 `json:"link_ms"`
	Sum     float64 `json:"sum_ms"` // of one layer
	Bound   float64 `json:"bound_ms"`
	OfBound float64 `json:"of_bound"`
	Sent    uint64  `json:"sent_bytes"`
	Synced  uint64  `json:"sync_bytes"` // of them, in Step
	Speedup float64 `json:"speedup"`
}

// collect puts together what the ranks report. Results that differ between the ways are an error.
func (o *options) collect(out io.Reader) ([]way, error) {
	reports := make([]report, o.Ranks)
	d := json.NewDecoder(out)
	for i := range reports {
		if err := d.Decode(&reports[i]); err != nil {
			return nil, fmt.Errorf("a rank's report: %w", err)
		}
		if err := reports[i].check(len(o.pieces()), o.Rounds); err != nil {
			return nil, err
		}
	}
	var ways []way
	for i, piece := range o.pieces() {
		w := way{piece: piece}
		w.step = slowest(reports, func(r report) []time.Duration { return r.Ways[i].Steps })
		w.sync = slowest(reports, func(r report) []time.Duration { return r.Ways[i].Syncs })
		for _, r := range reports {
			w.sent, w.sentBySync = max(w.sent, median(r.Ways[i].Sent)), max(w.sentBySync, median(r.Ways[i].SentBySync))
		}
		ways = append(ways, w)
	}
	return ways, nil
}

// check returns an error unless a rank has seen all rounds, with the same results of every way.
func (r report) check(ways, rounds int) error {
	if len(r.Ways) != ways {
		return fmt.Errorf("rank %d reports %d ways to sum, want %d", r.Rank, len(r.Ways), ways)
	}
	for _, w := range r.Ways {
		if len(w.Steps) != rounds || len(w.Syncs) != rounds || len(w.Sent) != rounds || len(w.SentBySync) != rounds || len(w.Digests) != rounds {
			return fmt.Errorf("rank %d does not report %d rounds", r.Rank, rounds)
		}
		for round, digest := range w.Digests {
			if digest != r.Ways[0].Digests[round] {
				return fmt.Errorf("rank %d: in round %d sums in gaps gave other bits than sums at the end", r.Rank, round+1)
			}
		}
	}
	return nil
}

// slowest is the median round's time of its slowest rank.
func slowest(reports []report, times func(report) []time.Duration) time.Duration {
	all := make([]time.Duration, len(times(reports[0])))
	for _, r := range reports {
		for round, t := range times(r) {
			all[round] = max(all[round], t)
		}
	}
	return harness.Median(all)
}

func median(list []uint64) uint64 { return slices.Sorted(slices.Values(list))[len(list)/2] }

// rowsOf makes rows of the ways at one rate, of which the first sums at the end; computing is that
// with links that are not limited.
func (o *options) rowsOf(rate int, computing way, ways []way) (rows []row) {
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	onLink := func(bytes uint64) float64 { return float64(bytes) * 8 / float64(rate) / 1e3 }
	compute, link := ms(computing.step), onLink(ways[0].sent)
	sum := onLink(ways[0].sentBySync) / float64(o.Layers)
	bound := max(compute, link) + sum
	for _, w := range ways {
		rows = append(rows, row{
			Rate: rate, Ranks: o.Ranks, Copies: o.Copies, Layers: o.Layers, Tokens: o.Tokens, Dim: o.Dim, Hidden: o.Hidden,
			Experts: o.Experts, K: o.K, Overlap: o.Overlap, Piece: w.piece,
			Step: ms(w.step), Sync: ms(w.sync), Compute: compute, Link: link, Sum: sum, Bound: bound,
			OfBound: ms(w.step) / bound, Sent: w.sent, Synced: w.sentBySync, Speedup: ways[0].step.Seconds() / w.step.Seconds(),
		})
	}
	return rows
}

func writeTable(stdout io.Writer, rows []row) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "Mbit/s\tlayers\tcopies\tsums\tstep(ms)\tsync(ms)\tsync/step\tsync(MB)\tcompute(ms)\tlink(ms)\tbound(ms)\t÷ bound\tspeedup\t")
	for _, r := range rows {
		sums := "at the end"
		if r.Piece > 0 {
			sums = fmt.Sprintf("in gaps, %d KiB", r.Piece>>10)
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%.1f\t%.1f\t%.0f%%\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t\n", r.Rate, r.Layers, r.Copies, sums,
			r.Step, r.Sync, 100*r.Sync/r.Step, float64(r.Synced)/1e6, r.Compute, r.Link, r.Bound, r.OfBound, r.Speedup)
	}
	w.Flush()
}
