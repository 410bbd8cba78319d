package main

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/internal/figure"
)

// history is the course of training, for the loss curve.
type history struct {
	train, held plotter.XYs // step, loss
	bigram      float64
}

func (h *history) addTrain(step int, loss float64) {
	h.train = append(h.train, plotter.XY{X: float64(step), Y: loss})
}

func (h *history) addHeld(step int, loss float64) {
	h.held = append(h.held, plotter.XY{X: float64(step), Y: loss})
}

// The colours of the loss curve: two that colour-blind readers can tell apart, and grey for the
// yardstick.
var (
	trainColour  = color.NRGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}
	stepColour   = color.NRGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0x50}
	heldColour   = color.NRGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}
	bigramColour = color.NRGBA{R: 0x60, G: 0x60, B: 0x60, A: 0xff}
)

// draw writes the loss curve to a file, whose ending names its format.
func (h *history) draw(path string) error {
	p := newPlot()
	for _, add := range []func(*plot.Plot) error{h.addSteps, h.addSmooth, h.addHeldOut, h.addBigram} {
		if err := add(p); err != nil {
			return err
		}
	}
	p.X.Min = 0
	return figure.Save(path, vg.Points(560), vg.Points(340), p)
}

// newPlot returns axes with a title, labels and a grid.
func newPlot() *plot.Plot {
	p := figure.New()
	p.Title.Text = "Learning to predict the next byte"
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = "optimizer step"
	p.Y.Label.Text = "loss (nats per byte)"
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(4), vg.Points(4)
	p.X.Padding, p.Y.Padding = vg.Points(4), vg.Points(4)
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(-8), vg.Points(-8)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 0xe0}, color.Gray{Y: 0xe0}
	p.Add(grid)
	return p
}

// addSteps draws every step's loss, faintly.
func (h *history) addSteps(p *plot.Plot) error {
	line, err := plotter.NewLine(h.train)
	if err != nil {
		return err
	}
	line.Color = stepColour
	p.Add(line)
	return nil
}

// addSmooth draws the mean of the steps around each step.
func (h *history) addSmooth(p *plot.Plot) error {
	line, err := plotter.NewLine(smooth(h.train, max(len(h.train)/40, 1)))
	if err != nil {
		return err
	}
	line.Color, line.Width = trainColour, vg.Points(1.6)
	p.Add(line)
	p.Legend.Add("training", line)
	return nil
}

func (h *history) addHeldOut(p *plot.Plot) error {
	line, points, err := plotter.NewLinePoints(h.held)
	if err != nil {
		return err
	}
	line.Color, line.Width = heldColour, vg.Points(1.2)
	points.Color, points.Shape, points.Radius = heldColour, draw.CircleGlyph{}, vg.Points(2.4)
	p.Add(line, points)
	p.Legend.Add("held out", line, points)
	return nil
}

// addBigram draws the yardstick from the first step to the last.
func (h *history) addBigram(p *plot.Plot) error {
	if h.bigram == 0 {
		return nil
	}
	line, err := plotter.NewLine(plotter.XYs{{X: h.train[0].X, Y: h.bigram}, {X: h.train[len(h.train)-1].X, Y: h.bigram}})
	if err != nil {
		return err
	}
	line.Color, line.Width = bigramColour, vg.Points(1.2)
	line.Dashes = []vg.Length{vg.Points(5), vg.Points(4)}
	p.Add(line)
	p.Legend.Add("bigram, held out", line)
	return nil
}

// smooth replaces each point by the mean of those at most reach away on either side. Near the
// start, where the curve is steep, as many are taken from both sides; at the end there are only
// those before.
func smooth(points plotter.XYs, reach int) plotter.XYs {
	out := make(plotter.XYs, len(points))
	for i, p := range points {
		before := min(reach, i)
		after := min(before, len(points)-1-i)
		sum := 0.0
		for _, q := range points[i-before : i+after+1] {
			sum += q.Y
		}
		out[i] = plotter.XY{X: p.X, Y: sum / float64(before+1+after)}
	}
	return out
}
