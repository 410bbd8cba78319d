package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// waitTag is that of the messages by which ranks wait for each other.
const waitTag = 0xfff0

// networkRow is one algorithm on one case, and a line of the JSON file.
type networkRow struct {
	Ranks     int     `json:"ranks"`
	Each      int     `json:"each"`
	Rate      int     `json:"rate_mbit"`
	Case      string  `json:"case"`
	Bytes     int     `json:"bytes"`
	Algorithm string  `json:"algorithm"`
	Dispatch  float64 `json:"dispatch_us"`
	Combine   float64 `json:"combine_us"`
	Predicted float64 `json:"predicted_us"`
	Auto      bool    `json:"auto"`
	Regret    float64 `json:"regret"`
	Sent      int     `json:"sent_bytes"`
	Wrong     int     `json:"wrong"`
}

func (r *networkRow) time() float64 { return r.Dispatch + r.Combine }

// collect makes rows of what the ranks have reported, and says what links were found to cost.
func (o *options) collect(stdout io.Writer, out io.Reader) ([]networkRow, error) {
	ranks := o.Nodes * o.Each
	reports := make([]networkReport, ranks)
	d := json.NewDecoder(out)
	algorithms := alltoall.Algorithms()
	cases := len(o.cases(0)) // that all ranks have done
	for range ranks {
		var r networkReport
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("a rank's report: %w", err)
		}
		cases = min(cases, len(r.Results)/len(algorithms))
		if r.Rank < 0 || r.Rank >= ranks {
			return nil, fmt.Errorf("a report of rank %d", r.Rank)
		}
		reports[r.Rank] = r
	}
	m := reports[0].Measured
	fmt.Fprintf(stdout, "# %d nodes of %d ranks, links of %d Mbit/s; measured: within a node %v + %.3f ns a byte (r² %.3f), between %v + %.3f (r² %.3f)\n",
		o.Nodes, o.Each, o.Rate, m.Within.Alpha, m.Within.Beta, m.R2Within, m.Between.Alpha, m.Between.Beta, m.R2Between)
	var rows []networkRow
	for i, c := range o.cases(0)[:cases] {
		at := len(rows)
		for j, a := range algorithms {
			row := networkRow{Ranks: ranks, Each: o.Each, Rate: o.Rate, Case: c.Name, Bytes: c.Bytes, Algorithm: a.String()}
			var results []result
			for _, r := range reports {
				results = append(results, r.Results[i*len(algorithms)+j])
			}
			row.sum(results)
			rows = append(rows, row)
		}
		regret(rows[at:])
	}
	if all := len(o.cases(0)); cases < all {
		return rows, fmt.Errorf("the ranks report %d cases, want %d", cases, all)
	}
	return rows, nil
}

// sum makes a row of what the ranks saw: a round takes as long as its slowest rank, and the row is
// the median round's.
func (r *networkRow) sum(of []result) {
	var dispatch, combine []time.Duration
	for i := range of[0].Dispatch {
		var d, c time.Duration
		for _, x := range of {
			d, c = max(d, x.Dispatch[i]), max(c, x.Combine[i])
		}
		dispatch, combine = append(dispatch, d), append(combine, c)
	}
	slices.Sort(dispatch)
	slices.Sort(combine)
	r.Dispatch, r.Combine = harness.Microseconds(harness.Percentile(dispatch, 0.5)), harness.Microseconds(harness.Percentile(combine, 0.5))
	r.Predicted = harness.Microseconds(of[0].Predicted.Dispatch + of[0].Predicted.Combine)
	r.Auto = of[0].Auto
	for _, x := range of {
		r.Sent += x.Sent
		r.Wrong += x.Wrong
	}
}

// regret says of the rows of one case by how much each is slower than the fastest.
func regret(rows []networkRow) {
	best := rows[0].time()
	for i := range rows {
		best = min(best, rows[i].time())
	}
	for i := range rows {
		rows[i].Regret = rows[i].time()/best - 1
	}
}

func writeTable(stdout io.Writer, rows []networkRow) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tbytes\talgorithm\tdispatch(us)\tcombine(us)\tpredicted(us)\tratio\tsent(MB)\tregret\t\t#wrong\t")
	for _, r := range rows {
		auto := ""
		if r.Auto {
			auto = "auto"
		}
		ratio := "-"
		if r.Predicted > 0 && r.Algorithm != alltoallvName {
			ratio = fmt.Sprintf("%.2f", r.Predicted/r.time())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t%.0f\t%.0f\t%s\t%.3f\t%.0f%%\t%s\t%d\t\n", r.Case, harness.SizeName(r.Bytes), r.Algorithm, r.Dispatch, r.Combine,
			r.Predicted, ratio, float64(r.Sent)/1e6, 100*r.Regret, auto, r.Wrong)
	}
	w.Flush()
	worst, within, cases := 0.0, 0, 0
	for _, r := range rows {
		if r.Auto {
			cases++
			worst = max(worst, r.Regret)
			if r.Regret <= 0.05 {
				within++
			}
		}
	}
	fmt.Fprintf(stdout, "# Auto takes one within 5%% of the fastest in %d of %d cases; at worst %.0f%% slower\n", within, cases, 100*worst)
}

// wrongRows is an error if any row came home other than it left.
func wrongRows(rows []networkRow) error {
	wrong := 0
	for _, r := range rows {
		wrong += r.Wrong
	}
	if wrong > 0 {
		return errors.New(fmt.Sprint(wrong, " rows came home wrong"))
	}
	return nil
}
