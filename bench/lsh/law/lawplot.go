package law

import (
	"errors"
	"fmt"
	"image/color"
	"maps"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/bench/internal/palette"
	"github.com/switchyard-moe/switchyard/internal/figure"
)

// curve is a variant that the picture shows, and what it is called there.
type curve struct{ variant, name string }

// curves are those against the number of rows at a rate of a fifth, levels those of all rows.
func curves() []curve {
	return []curve{{"paper", "identity"}, {"none-refined", "no compensation"}, {"bandwidth-3", "interpolation, narrow"}, {"clusters-all-legs", "interpolation"}}
}

func levels() []curve { return []curve{{"mxfp4", "mxfp4"}, {"nvfp4", "nvfp4"}, {"fp8", "fp8"}} }

// drawLaw draws errors of outputs against the number of rows in a group, with the fitted laws as
// thin lines, and beside that, if there are any, what training lost against the square of the
// error.
func drawLaw(file string, all []*series, pairs []pair) error {
	if file == "" {
		return nil
	}
	left, err := errorPanel(all)
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return figure.Save(file, vg.Points(420), vg.Points(320), left)
	}
	right, err := lossPanel(pairs)
	if err != nil {
		return err
	}
	panels := [][]*plot.Plot{{left, right}}
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: 14, PadTop: 6, PadBottom: 6, PadLeft: 6, PadRight: 10}
	return figure.Draw(file, vg.Points(760), vg.Points(340), func(whole draw.Canvas) {
		for i, at := range plot.Align(panels, tiles, whole)[0] {
			panels[0][i].Draw(at)
		}
	})
}

// newPanel is an empty chart with a grid and two logarithmic axes.
func newPanel(title, x, y string) *plot.Plot {
	p := figure.New()
	figure.FontSize(p, 9)
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 0xe8}, color.Gray{Y: 0xe8}
	p.Add(grid)
	return p
}

// errorPanel draws curves, laws and levels.
func errorPanel(all []*series) (*plot.Plot, error) {
	p := newPanel("error of the layer's output, a fifth of the rows", "rows in a group", "relative error")
	ticks := map[int]bool{}
	for i, c := range curves() {
		list := samplesOf(seriesAt(all, c.variant, unitRate), c.variant, mean.errorOutput)
		law, ok := fitPower(list)
		if !ok {
			continue
		}
		var measured, fitted plotter.XYs
		for _, s := range list {
			ticks[s.rows] = true
			measured = append(measured, plotter.XY{X: float64(s.rows), Y: s.error})
			fitted = append(fitted, plotter.XY{X: float64(s.rows), Y: law.of(s.rows, unitRate)})
		}
		line, dots, err := plotter.NewLinePoints(measured)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = palette.OfCurve(i), vg.Points(1.6)
		dots.Color, dots.Shape, dots.Radius = line.Color, draw.CircleGlyph{}, vg.Points(2)
		thin, err := plotter.NewLine(fitted)
		if err != nil {
			return nil, err
		}
		thin.Color, thin.Width, thin.Dashes = line.Color, vg.Points(0.7), []vg.Length{vg.Points(2), vg.Points(2)}
		p.Add(thin, line, dots)
		p.Legend.Add(c.name, line, dots)
	}
	if len(ticks) == 0 {
		return nil, errors.New("nothing to draw: want errors of clusters at a rate of 0.2 for two numbers of rows")
	}
	if err := addLevels(p, all, slices.Sorted(maps.Keys(ticks))); err != nil {
		return nil, err
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = countTicks(ticks), decimalTicks(p.Y.Min, p.Y.Max, 1, 2, 5)
	p.Legend.Top = true
	return p, nil
}

// seriesAt is that of a variant at a rate.
func seriesAt(all []*series, variant string, rate float64) []*series {
	return slices.DeleteFunc(slices.Clone(all), func(s *series) bool { return s.variant != variant || s.rate != rate })
}

// addLevels draws the errors of all rows in formats of few bits as level lines.
func addLevels(p *plot.Plot, all []*series, rows []int) error {
	from, to := float64(rows[0]), float64(rows[len(rows)-1])
	for i, c := range levels() {
		for _, s := range seriesAt(all, c.variant, 1) {
			y := s.at[0].errorOutput()
			line, err := plotter.NewLine(plotter.XYs{{X: from, Y: y}, {X: to, Y: y}})
			if err != nil {
				return err
			}
			line.Color, line.Width = palette.OfCurve(len(curves())+i), vg.Points(1)
			line.Dashes = []vg.Length{vg.Points(6), vg.Points(3)}
			name, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: from, Y: y}}, Labels: []string{"all rows in " + c.name}})
			if err != nil {
				return err
			}
			style := &name.TextStyle[0]
			style.Font, style.Handler, style.Color = p.Legend.TextStyle.Font, p.Legend.TextStyle.Handler, line.Color
			name.Offset = vg.Point{X: vg.Points(3), Y: vg.Points(2)}
			p.Add(line, name)
		}
	}
	return nil
}

// countTicks are labelled with the numbers.
func countTicks(at map[int]bool) plot.ConstantTicks {
	var ticks []plot.Tick
	for n := range at {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: strconv.Itoa(n)})
	}
	return ticks
}

// decimalTicks are those of some digits times powers of ten.
func decimalTicks(low, high float64, digits ...float64) (ticks plot.ConstantTicks) {
	for power := math.Floor(math.Log10(low)); power <= math.Log10(high); power++ {
		for _, digit := range digits {
			if v := digit * math.Pow(10, power); v >= low*0.999 && v <= high*1.001 {
				ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.4g", v)})
			}
		}
	}
	return ticks
}

// lossPanel draws what fine-tuning lost against the squared error of the gradients of experts'
// weights, and the law of both gradients: for exact gradients of rows, and for clustered ones.
func lossPanel(pairs []pair) (*plot.Plot, error) {
	p := newPanel("what fine-tuning loses", "squared error of the gradients of experts' weights", "share of the gain lost")
	of := ofTask(pairs, "finetune")
	if len(of) == 0 {
		return nil, errors.New("nothing to draw: want losses of fine-tuning")
	}
	for i, family := range families() {
		dots := dotsOf(of, family)
		if len(dots) == 0 {
			continue
		}
		points, err := plotter.NewScatter(dots)
		if err != nil {
			return nil, err
		}
		points.Color, points.Shape, points.Radius = palette.OfCurve(i), draw.CircleGlyph{}, vg.Points(3)
		p.Add(points)
		p.Legend.Add(family, points)
	}
	if a, b, _, ok := fitLoss(of); ok {
		if err := addLaw(p, a, 0, "law, exact gradients of rows"); err != nil {
			return nil, err
		}
		if err := addLaw(p, a, b*clusteredGradients, "law, clustered gradients of rows"); err != nil {
			return nil, err
		}
	}
	p.Y.Max *= 8 // room for the legend
	p.X.Tick.Marker, p.Y.Tick.Marker = decimalTicks(p.X.Min, p.X.Max, 1, 3), decimalTicks(p.Y.Min, p.Y.Max, 1, 3)
	p.Legend.Top, p.Legend.Left = true, true
	return p, nil
}

// What is drawn of losses: what seeds cannot tell from nothing stands at least, and the squared
// error of clustered gradients of rows is about the same in every group.
const least, clusteredGradients = 0.005, 0.85

// dotsOf are the errors and losses of a family.
func dotsOf(pairs []pair, family string) (dots plotter.XYs) {
	for _, q := range pairs {
		if q.family == family {
			dots = append(dots, plotter.XY{X: q.error.squareWeights(), Y: max(q.lost, least)})
		}
	}
	return dots
}

// addLaw draws lost = a·error² + more over the width of a panel.
func addLaw(p *plot.Plot, a, more float64, name string) error {
	var curve plotter.XYs
	for x := p.X.Min; x < p.X.Max; x *= 1.1 {
		if y := float64(a*x) + more; y > least {
			curve = append(curve, plotter.XY{X: x, Y: y})
		}
	}
	if len(curve) == 0 {
		return nil
	}
	line, err := plotter.NewLine(curve)
	if err != nil {
		return err
	}
	line.Width, line.Dashes = vg.Points(0.8), []vg.Length{vg.Points(2), vg.Points(2)}
	if more > 0 {
		line.Dashes = []vg.Length{vg.Points(6), vg.Points(3)}
	}
	p.Add(line)
	p.Legend.Add(name, line)
	return nil
}
