package sim

import (
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/bench/internal/palette"
	"github.com/switchyard-moe/switchyard/internal/figure"
)

// drawScale draws step time and exposed communication against the number of ranks, a curve for each
// policy.
func drawScale(path string, all []simulated) error {
	step, err := scalePanel(all, "step time, ms", func(s simulated) float64 { return s.StepMS })
	if err != nil {
		return err
	}
	exposed, err := scalePanel(all, "exposed communication, ms", func(s simulated) float64 { return s.ExposedMS })
	if err != nil {
		return err
	}
	step.Legend = figure.Legend() // the other panel has room for it
	panels := [][]*plot.Plot{{step, exposed}}
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: 12, PadTop: 6, PadBottom: 6, PadLeft: 6, PadRight: 10}
	return figure.Draw(path, 640, 300, func(whole draw.Canvas) {
		for i, at := range plot.Align(panels, tiles, whole)[0] {
			panels[0][i].Draw(at)
		}
	})
}

// scalePanel draws one quantity, from 0 on.
func scalePanel(all []simulated, title string, of func(simulated) float64) (*plot.Plot, error) {
	p := figure.New()
	figure.FontSize(p, 9)
	p.Title.Text, p.X.Label.Text = title, "ranks"
	p.X.Scale = plot.LogScale{}
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Color = 0, color.Gray{Y: 0xe0}
	p.Add(grid)
	var names []string
	curves, ticks := map[string]plotter.XYs{}, map[int]bool{}
	most := 0.0
	for _, s := range all {
		if curves[s.Policy] == nil {
			names = append(names, s.Policy)
		}
		curves[s.Policy] = append(curves[s.Policy], plotter.XY{X: float64(s.Ranks), Y: of(s)})
		ticks[s.Ranks], most = true, max(most, of(s))
	}
	for i, name := range names {
		line, err := plotter.NewLine(curves[name])
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = palette.OfCurve(i), vg.Points(1.4)
		if i == len(names)-1 {
			line.Color, line.Width = color.Black, vg.Points(2)
		}
		p.Add(line)
		p.Legend.Add(name, line)
	}
	var marks []plot.Tick
	for ranks := range ticks {
		marks = append(marks, plot.Tick{Value: float64(ranks), Label: strconv.Itoa(ranks)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(marks)
	p.Y.Min, p.Y.Max = 0, 1.05*most
	p.Legend.Left, p.Legend.Top = true, false
	p.Legend.YOffs, p.Legend.Padding = vg.Points(4), vg.Points(2)
	return p, nil
}
