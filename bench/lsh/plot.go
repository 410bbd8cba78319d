package lsh

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/switchyard-moe/switchyard/bench/internal/palette"
	"github.com/switchyard-moe/switchyard/internal/figure"
)

// drawSpeedups draws a bar for every variant at every rate of links that has been timed: plain's
// step over its own.
func drawSpeedups(file string, rows []row) error {
	if file == "" {
		return nil
	}
	p := figure.New()
	p.Title.Text, p.X.Label.Text = "how many times as fast as all rows, one after the other", "times"
	p.Title.Padding = vg.Points(6)
	var names []string
	bars := map[int]map[string]float64{}
	var rates []int
	for _, r := range rows {
		if r.Speedup == 0 || r.Task != rows[len(rows)-1].Task || r.Rows != rows[len(rows)-1].Rows {
			continue
		}
		if !slices.Contains(names, r.Variant) {
			names = append(names, r.Variant)
		}
		if bars[r.Link] == nil {
			bars[r.Link] = map[string]float64{}
			rates = append(rates, r.Link)
		}
		bars[r.Link][r.Variant] = r.Speedup
	}
	if len(names) == 0 {
		return errors.New("nothing to draw: no speed was measured")
	}
	slices.Reverse(names) // from the top
	width := vg.Points(max(18/float64(len(rates)), 2))
	for i, rate := range rates {
		var values plotter.Values
		for _, name := range names {
			values = append(values, bars[rate][name])
		}
		chart, err := plotter.NewBarChart(values, width)
		if err != nil {
			return err
		}
		chart.Horizontal, chart.LineStyle.Width = true, 0
		chart.Color = palette.OfCurve(i)
		chart.Offset = width * vg.Length(float64(len(rates)-1)/2-float64(i))
		p.Add(chart)
		p.Legend.Add(fmt.Sprintf("%d Mbit/s", rate), chart)
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, math.Ceil(1.2*p.X.Max) // room for the legend beside the first bars
	p.Legend.Top = true
	return figure.Save(file, vg.Points(520), vg.Points(float64(60+24*len(names))), p)
}
