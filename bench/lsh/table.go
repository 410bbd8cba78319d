package lsh

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// rows puts speed at one rate and quality together.
func (o *options) rows(link int, runs map[string]lshRun, losses map[string]float64) (rows []row) {
	plain, l0, l1 := runs[plainName], losses[noExpertsName], losses[plainName]
	for _, v := range o.variants {
		loss := losses[lossesOf(v.name)]
		run, ok := runs[v.name]
		if !ok {
			base, _, _ := strings.Cut(v.name, "×")
			base, _, _ = strings.Cut(base, "-until")
			run = runs[base]
			if v.until > 0 && run.StepMS > 0 {
				run.StepMS = v.until*run.StepMS + (1-v.until)*plain.StepMS
			}
		}
		r := row{Variant: v.name, Link: link, Share: plain.ExchangeShare, Rate: v.rate, Step: run.StepMS, Loss: loss, Seeds: o.seeds,
			Wire: run.WireBytes / uint64(o.speedSteps), times: v.times}
		if run.StepMS > 0 {
			r.Speedup = plain.StepMS / run.StepMS
		}
		if l0 > l1 && l1 > 0 && loss > 0 {
			r.Kept = (l0 - r.Loss) / (l0 - l1)
		}
		if r.Loss <= l1 && l1 > 0 && loss > 0 {
			r.TimeToLoss = r.Speedup / v.times
		}
		rows = append(rows, r)
	}
	return rows
}

func writeTable(stdout io.Writer, rows []row) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "variant\tMbit/s\ta2a share\trate\tstep(ms)\tspeedup\theld-out\tkept\ttime to loss\tMB a step\t")
	number := func(format string, v float64) string {
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.2f\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Variant, r.Link, number("%.2f", r.Share), r.Rate, number("%.0f", r.Step), number("%.2f", r.Speedup),
			number("%.4f", r.Loss), number("%.2f", r.Kept), number("%.2f", r.TimeToLoss), number("%.1f", float64(r.Wire)/1e6))
	}
	w.Flush()
}
