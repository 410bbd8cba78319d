package lsh

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// writeTable prints the rows that are means over seeds.
func writeTable(stdout io.Writer, rows []row) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "task\trows\tvariant\trate\tbytes\theld-out\tas trained\tgain\tmatched\tkept\tmatched\tseeds\tMbit/s\ta2a share\tstep(ms)\tspeedup\ttime to loss\tMB a step\t")
	for _, r := range rows {
		if r.Seed > 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.2f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t\n", r.Task, r.Rows, r.Variant, r.Rate, number("%.3f", r.BytesRatio),
			number("%.4f", r.Loss), number("%.4f", r.LossTrained), spread(r.Gain, r.GainError), number("%.2f", r.GainMatched),
			spread(r.Kept, r.KeptError), number("%.2f", r.KeptMatched), r.Seeds, r.Link, number("%.2f", r.Share), number("%.0f", r.Step),
			number("%.2f", r.Speedup), number("%.2f", r.TimeToLoss), number("%.1f", float64(r.Wire)/1e6))
	}
	w.Flush()
}

// number is a figure, or a dash where it is not known.
func number(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// spread is a mean with its standard error.
func spread(mean, se float64) string {
	if mean == 0 || se == 0 {
		return number("%.3f", mean)
	}
	return fmt.Sprintf("%.3f ± %.3f", mean, se)
}
