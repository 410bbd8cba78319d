// Package figure draws charts whose text has room in any of the fonts that a reader may have.
//
// A chart in SVG names fonts and does not contain them. If the reader's font is wider than the one
// of the layout, labels overlap or are cut off. So the layout uses the width of the widest font,
// each text has an anchor, and several fonts are named.
package figure

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/internal/textwidth"
)

// New returns an empty chart with such text.
func New() *plot.Plot {
	p := plot.New()
	h := handler{p.TextHandler}
	p.TextHandler = h
	p.Legend.Padding = vg.Points(3)
	for _, style := range styles(p) {
		style.Font.Variant, style.Handler = "Sans", h
	}
	return p
}

// Legend returns an empty legend with such text.
func Legend() plot.Legend { return New().Legend }

// FontSize sets the size of all text of a chart, in points.
func FontSize(p *plot.Plot, size float64) {
	for _, style := range styles(p) {
		style.Font.Size = vg.Points(size)
	}
}

func styles(p *plot.Plot) []*text.Style {
	return []*text.Style{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	}
}

// Fit makes the title of a chart as small as a width needs.
func Fit(p *plot.Plot, width vg.Length) {
	style := &p.Title.TextStyle
	if is := style.Width(p.Title.Text); is > width {
		style.Font.Size *= width / is
	}
}

// Format returns an error if a file's ending names no format that charts can be drawn in.
func Format(path string) error {
	_, err := draw.NewFormattedCanvas(1, 1, format(path))
	if err != nil {
		return fmt.Errorf("no chart can be drawn as %q: want a name that ends in .svg, .png, .pdf, .eps, .jpg, .tif or .tex", filepath.Base(path))
	}
	return nil
}

func format(path string) string { return strings.ToLower(strings.TrimPrefix(filepath.Ext(path), ".")) }

// Save writes a chart to a file in the format that its ending names.
func Save(path string, width, height vg.Length, p *plot.Plot) error {
	const edge = 6
	return Draw(path, width, height, func(whole draw.Canvas) { p.Draw(draw.Crop(whole, edge, -edge, edge, -edge)) })
}

// Draw writes a file with what draw draws on a white canvas, in the format that its ending names.
func Draw(path string, width, height vg.Length, picture func(draw.Canvas)) error {
	if err := Format(path); err != nil {
		return err
	}
	canvas, err := draw.NewFormattedCanvas(width, height, format(path))
	if err != nil {
		return err
	}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	picture(whole)
	return outfile.Write(path, func(w io.Writer) error {
		if format(path) != "svg" {
			_, err := canvas.WriteTo(w)
			return err
		}
		var b bytes.Buffer
		if _, err := canvas.WriteTo(&b); err != nil {
			return err
		}
		_, err := w.Write(anchored(b.Bytes()))
		return err
	})
}

// handler lays out text by its largest width, and marks what is not anchored at its left.
type handler struct{ text.Handler }

// Box is that of the text in the widest font.
func (h handler) Box(txt string, of font.Font) (width, height, depth vg.Length) {
	width, height, depth = h.Handler.Box(txt, of)
	return max(width, vg.Length(textwidth.Of(txt, float64(of.Size)))), height, depth
}

// Draw draws text from the place where it is to stay, whatever its width.
func (h handler) Draw(c vg.Canvas, txt string, style text.Style, at vg.Point) {
	if mark, ok := marks[style.XAlign]; ok && isSVG(c) {
		style.XAlign = draw.XLeft
		lines := h.Lines(txt)
		for i := range lines {
			lines[i] = mark + lines[i]
		}
		txt = strings.Join(lines, "\n")
	}
	style.Handler = h
	h.Handler.Draw(c, txt, style, at)
}

// marks go before text in an SVG, and are removed when it is written. They are no characters of any
// text.
var marks = map[text.XAlignment]string{draw.XCenter: "\ue001", draw.XRight: "\ue002"}

// isSVG says whether a canvas is, at its bottom, one of SVG.
func isSVG(c vg.Canvas) bool {
	for {
		switch of := c.(type) {
		case draw.Canvas:
			c = of.Canvas
		case *draw.Canvas:
			c = of.Canvas
		default:
			return strings.Contains(fmt.Sprintf("%T", c), "vgsvg.")
		}
	}
}

var (
	fontFamily = regexp.MustCompile(`font-family:[^;"]*;`)
	marked     = regexp.MustCompile(`style="([^"]*)">([\x{e001}\x{e002}])`)
)

// anchored names several fonts in an SVG, and anchors what is marked.
func anchored(svg []byte) []byte {
	svg = fontFamily.ReplaceAll(svg, []byte("font-family:"+textwidth.Sans+";"))
	return marked.ReplaceAllFunc(svg, func(m []byte) []byte {
		part := marked.FindSubmatch(m)
		anchor := "middle"
		if string(part[2]) == marks[draw.XRight] {
			anchor = "end"
		}
		return fmt.Appendf(nil, `style="%s;text-anchor:%s">`, part[1], anchor)
	})
}
