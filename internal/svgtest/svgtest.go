// Package svgtest checks in tests that the text of an SVG has room in each font that its reader may
// have.
package svgtest

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/textwidth"
)

// Text is a text of a picture, and the corners of the box around it in the widest font.
type Text struct {
	Text   string
	Family string
	Box    [4]point
}

type point struct{ x, y float64 }

// Readable requires each text of an SVG to name several fonts of which the last is a generic one,
// to lie within the picture, and to overlap no other.
func Readable(t require.TestingT, svg []byte, name string) {
	width, height, texts, err := Texts(svg)
	require.NoError(t, err, name)
	require.NotEmpty(t, texts, name)
	for i, a := range texts {
		list := strings.Split(a.Family, ",")
		require.Greater(t, len(list), 2, "%s: %q is in %q", name, a.Text, a.Family)
		require.Contains(t, []string{"sans-serif", "serif", "monospace"}, strings.TrimSpace(list[len(list)-1]), "%s: %q", name, a.Text)
		for _, c := range a.Box {
			const slack = 0.5
			require.True(t, min(c.x, c.y) >= -slack && c.x <= width+slack && c.y <= height+slack,
				"%s: %q reaches (%.1f, %.1f) of a picture of %v × %v", name, a.Text, c.x, c.y, width, height)
		}
		for _, b := range texts[:i] {
			require.False(t, overlap(a.Box, b.Box), "%s: %q at %.1f overlaps %q at %.1f", name, a.Text, a.Box, b.Text, b.Box)
		}
	}
}

// overlap says whether two rectangles have an inner point in common: no line along a side of either
// separates them.
func overlap(a, b [4]point) bool {
	for _, r := range [2][4]point{a, b} {
		for i := range r {
			axis := point{r[(i+1)%4].y - r[i].y, r[i].x - r[(i+1)%4].x}
			al, ah := spread(a, axis)
			bl, bh := spread(b, axis)
			if ah <= bl || bh <= al {
				return false
			}
		}
	}
	return true
}

func spread(r [4]point, axis point) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, c := range r {
		v := c.x*axis.x + c.y*axis.y
		low, high = min(low, v), max(high, v)
	}
	return low, high
}

// state is what an element passes to those inside it.
type state struct {
	matrix [6]float64 // a b c d e f
	attrs  map[string]string
}

// Texts returns the size of a picture in its own units, and its texts.
func Texts(svg []byte) (width, height float64, texts []Text, err error) {
	stack := []state{{matrix: [6]float64{1, 0, 0, 1, 0, 0}, attrs: map[string]string{"font-size": "16"}}}
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	var words strings.Builder
	within := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return width, height, texts, nil
		}
		if err != nil {
			return 0, 0, nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			s, err := stack[len(stack)-1].enter(e)
			if err != nil {
				return 0, 0, nil, err
			}
			if stack = append(stack, s); e.Name.Local == "svg" {
				var x, y float64
				if _, err := fmt.Sscan(s.attrs["viewBox"], &x, &y, &width, &height); err != nil {
					return 0, 0, nil, fmt.Errorf("viewBox %q: %w", s.attrs["viewBox"], err)
				}
			}
			if e.Name.Local == "text" || e.Name.Local == "tspan" {
				within = true
				words.Reset()
			}
		case xml.CharData:
			words.Write(e)
		case xml.EndElement:
			s := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if text := strings.Join(strings.Fields(words.String()), " "); within && text != "" && (e.Name.Local == "text" || e.Name.Local == "tspan") {
				box, err := s.box(text)
				if err != nil {
					return 0, 0, nil, fmt.Errorf("%q: %w", text, err)
				}
				texts = append(texts, Text{text, s.attrs["font-family"], box})
				words.Reset()
			}
			within = within && e.Name.Local != "text"
		}
	}
}

// handedDown are the properties that an element has from the one around it. (The place of a text
// counts for its lines.)
var handedDown = []string{"font-family", "font-size", "font-weight", "text-anchor", "x", "y"}

func (s state) enter(e xml.StartElement) (state, error) {
	next := state{matrix: s.matrix, attrs: map[string]string{}}
	for _, name := range handedDown {
		next.attrs[name] = s.attrs[name]
	}
	for _, a := range e.Attr {
		next.attrs[a.Name.Local] = a.Value
	}
	for property := range strings.SplitSeq(next.attrs["style"], ";") {
		if name, value, ok := strings.Cut(property, ":"); ok {
			next.attrs[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return next, next.transform(next.attrs["transform"])
}

var call = regexp.MustCompile(`(\w+)\(([^)]*)\)`)

// transform applies a list of transforms.
func (s *state) transform(list string) error {
	for _, c := range call.FindAllStringSubmatch(list, -1) {
		var v []float64
		for _, field := range strings.FieldsFunc(c[2], func(r rune) bool { return r == ',' || r == ' ' }) {
			f, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return fmt.Errorf("transform %q: %w", list, err)
			}
			v = append(v, f)
		}
		switch {
		case c[1] == "translate" && len(v) == 2:
			s.multiply([6]float64{1, 0, 0, 1, v[0], v[1]})
		case c[1] == "scale" && len(v) == 2:
			s.multiply([6]float64{v[0], 0, 0, v[1], 0, 0})
		case c[1] == "rotate" && (len(v) == 1 || len(v) == 3):
			sin, cos := math.Sincos(v[0] * math.Pi / 180)
			about := point{}
			if len(v) == 3 {
				about = point{v[1], v[2]}
			}
			s.multiply([6]float64{1, 0, 0, 1, about.x, about.y})
			s.multiply([6]float64{cos, sin, -sin, cos, 0, 0})
			s.multiply([6]float64{1, 0, 0, 1, -about.x, -about.y})
		case c[1] == "matrix" && len(v) == 6:
			s.multiply([6]float64(v))
		default:
			return fmt.Errorf("transform %q is not known here", c[0])
		}
	}
	return nil
}

func (s *state) multiply(m [6]float64) {
	n := s.matrix
	s.matrix = [6]float64{
		n[0]*m[0] + n[2]*m[1], n[1]*m[0] + n[3]*m[1], n[0]*m[2] + n[2]*m[3], n[1]*m[2] + n[3]*m[3],
		n[0]*m[4] + n[2]*m[5] + n[4], n[1]*m[4] + n[3]*m[5] + n[5],
	}
}

// box is the rectangle around a line of text: as high as its letters, and as wide as it can be.
func (s *state) box(text string) (box [4]point, err error) {
	var x, y, size float64
	for name, to := range map[string]*float64{"x": &x, "y": &y, "font-size": &size} {
		if value := strings.TrimSuffix(s.attrs[name], "px"); value != "" {
			if *to, err = strconv.ParseFloat(value, 64); err != nil {
				return box, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	width := textwidth.Of(text, size)
	if strings.Contains(s.attrs["font-family"], "monospace") {
		width = 0.61 * size * float64(len([]rune(text)))
	}
	if weight := s.attrs["font-weight"]; weight != "" && weight != "normal" && weight != "400" {
		width *= textwidth.Bold
	}
	switch s.attrs["text-anchor"] {
	case "middle":
		x -= width / 2
	case "end":
		x -= width
	}
	const ascent, descent = 0.74, 0.2 // of capitals, and of what hangs below the line
	for i, c := range [4]point{{x, y - ascent*size}, {x + width, y - ascent*size}, {x + width, y + descent*size}, {x, y + descent*size}} {
		m := s.matrix
		box[i] = point{m[0]*c.x + m[2]*c.y + m[4], m[1]*c.x + m[3]*c.y + m[5]}
	}
	return box, nil
}
