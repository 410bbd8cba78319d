package routers

import (
	"fmt"
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/bench/internal/palette"
	"github.com/switchyard-moe/switchyard/internal/figure"
)

const (
	panelColumns = 4
	panelWidth   = 150 // points
	panelHeight  = 104
)

// drawLoads writes a picture with a small chart for each router: the share of all choices that each
// expert got, a colour a layer, and as a dashed line what all would get if they were even. All
// charts have one scale.
func drawLoads(path string, rows []trained) error {
	var panels [][]*plot.Plot
	top := 0.0
	for _, r := range rows {
		top = max(top, largestShare(r.ExpertLoad))
	}
	for i, r := range rows {
		if i%panelColumns == 0 {
			panels = append(panels, make([]*plot.Plot, panelColumns))
		}
		p, err := loadPanel(r, top)
		if err != nil {
			return err
		}
		panels[len(panels)-1][i%panelColumns] = p
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: panelColumns, PadX: 8, PadY: 8, PadTop: 6, PadBottom: 4, PadLeft: 4, PadRight: 8}
	return figure.Draw(path, panelColumns*panelWidth, vg.Length(len(panels)*panelHeight), func(whole draw.Canvas) {
		for y, line := range plot.Align(panels, tiles, whole) {
			for x, at := range line {
				if p := panels[y][x]; p != nil {
					p.Draw(at)
				}
			}
		}
	})
}

// shares returns what part of a layer's choices each expert got.
func shares(layer []int) plotter.Values {
	total := 0
	for _, n := range layer {
		total += n
	}
	v := make(plotter.Values, len(layer))
	for e, n := range layer {
		v[e] = 100 * float64(n) / float64(max(total, 1))
	}
	return v
}

func largestShare(load [][]int) float64 {
	most := 0.0
	for _, layer := range load {
		for _, v := range shares(layer) {
			most = max(most, v)
		}
	}
	return most
}

// loadPanel draws one router's chart, up to top percent.
func loadPanel(r trained, top float64) (*plot.Plot, error) {
	p := figure.New()
	figure.FontSize(p, 7)
	p.Title.Text = fmt.Sprintf("%s (%.2f)", r.Router, r.unevenness())
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(9), vg.Points(3)
	figure.Fit(p, panelWidth-30)
	p.Y.Min, p.Y.Max = 0, top
	p.Y.Tick.Marker = plot.ConstantTicks(percentTicks(top))
	p.X.Tick.Length, p.X.Tick.LineStyle.Width = vg.Points(2), 0
	p.X.LineStyle.Width, p.X.Padding, p.Y.Padding = vg.Points(0.5), 0, 0
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width, p.Y.Tick.Length = 0, 0, 0
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Color = 0, color.Gray{Y: 0xe0}
	p.Add(grid)
	width := vg.Points(11) / vg.Length(max(len(r.ExpertLoad), 1))
	experts := 0
	for l, layer := range r.ExpertLoad {
		bars, err := plotter.NewBarChart(shares(layer), width)
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width = palette.Of(l), 0
		bars.Offset = width*vg.Length(l) - width*vg.Length(len(r.ExpertLoad)-1)/2
		p.Add(bars)
		experts = max(experts, len(layer))
	}
	even, err := plotter.NewLine(plotter.XYs{{X: -0.6, Y: 100 / float64(max(experts, 1))}, {X: float64(experts) - 0.4, Y: 100 / float64(max(experts, 1))}})
	if err != nil {
		return nil, err
	}
	even.Width, even.Dashes = vg.Points(0.7), []vg.Length{vg.Points(3), vg.Points(2)}
	p.Add(even)
	p.X.Tick.Marker = plot.ConstantTicks(numberTicks(experts))
	p.X.Min, p.X.Max = -0.6, float64(experts)-0.4
	return p, nil
}

// percentTicks are two or three round numbers up to top.
func percentTicks(top float64) (ticks []plot.Tick) {
	step := 5.0
	for top/step > 4 {
		step *= 2
	}
	for v := 0.0; v <= top; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.Itoa(int(v)) + "%"})
	}
	return ticks
}

// numberTicks number the experts.
func numberTicks(experts int) (ticks []plot.Tick) {
	for e := range experts {
		ticks = append(ticks, plot.Tick{Value: float64(e), Label: strconv.Itoa(e)})
	}
	return ticks
}
