package trace

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/textwidth"
	"github.com/switchyard-moe/switchyard/schedule"
)

// The colours of the operations, by Op: grey for what does not belong to the exchange, blue for
// dispatch, orange for combine, green for experts, purple for gradients. Colour-blind readers can
// tell them apart.
var opColours = [schedule.Ops]string{
	"#b5b5b5", "#8c8c8c", "#cfe3f0", "#9ecae1", "#0072b2", "#56b4e9", "#009e73", "#f0c05a", "#e69f00", "#fdd9a0", "#66c2a4", "#aa4499", "#117733",
}

// The measures of a picture, in pixels.
const (
	svgWidth, svgRow, svgGap = 1000, 24, 10
	svgFont, svgLine         = 11, 17 // size of the text, and height of a line of it
	svgEdge                  = 8      // between text and the edge, and between texts
	svgFoot                  = 36     // for the axis
)

// WriteSVG draws tracks one below the other on one axis of time, with a row for each resource that
// a track's graph uses. No text is cut off or covered by other text, in any sans-serif font.
func WriteSVG(w io.Writer, title string, tracks []Track) error {
	p := picture{w: bufio.NewWriter(w), left: 3 * svgEdge}
	first := firstBegin(tracks)
	rows := 0
	for i := range tracks {
		p.total = max(p.total, beginOf(&tracks[i]).Sub(first).Seconds()+tracks[i].Line.Makespan())
		for _, resource := range resourcesOf(tracks[i].Line.Graph) {
			p.left = max(p.left, wide(rowLabel(&tracks[i], resource))+2*svgEdge)
			rows += svgRow
		}
		rows += svgGap
	}
	p.right = max(3*svgEdge, wide(FormatSeconds(p.total))/2+svgEdge)
	titles, keys := wrapped(strings.Fields(title), svgWidth-2*svgEdge), p.keyLines(tracks)
	top := svgEdge + len(titles)*svgLine + svgEdge
	bottom := top + rows
	height := bottom + svgFoot + len(keys)*svgLine
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="%s" font-size="%d">`+"\n",
		svgWidth, height, svgWidth, height, textwidth.Sans, svgFont)
	p.printf(`<rect width="100%%" height="100%%" fill="white"/>` + "\n")
	for i, line := range titles {
		p.text(svgEdge, svgEdge+svgFont+i*svgLine, "start", "#000", line)
	}
	p.axis(top, bottom)
	y := top
	for i := range tracks {
		y = p.track(&tracks[i], beginOf(&tracks[i]).Sub(first).Seconds(), y) + svgGap
	}
	for i, ops := range keys {
		p.key(bottom+svgFoot+i*svgLine, ops)
	}
	p.printf("</svg>\n")
	return p.w.Flush()
}

// wide returns the largest width that a text can have.
func wide(text string) float64 { return textwidth.Of(text, svgFont) }

// wrapped makes lines of words that are no wider than width. A word that is wider is cut.
func wrapped(words []string, width float64) (lines []string) {
	line := ""
	for _, word := range words {
		if line != "" && wide(line+" "+word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; wide(line) > width; {
			n := 1
			for runes := []rune(line); wide(string(runes[:n+1])) <= width; {
				n++
			}
			runes := []rune(line)
			lines, line = append(lines, string(runes[:n])), string(runes[n:])
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func rowLabel(t *Track, resource schedule.Resource) string {
	return fmt.Sprintf("rank %d %v", t.Rank, resource)
}

// picture writes an SVG; its buffer keeps the first error.
type picture struct {
	w           *bufio.Writer
	total       float64 // seconds across
	left, right float64 // margins
}

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p *picture) text(x float64, y int, anchor, colour, s string) {
	p.printf(`<text x="%.1f" y="%d" text-anchor="%s" fill="%s">`, x, y, anchor, colour)
	xml.EscapeText(p.w, []byte(s)) // an error stays in the buffer
	p.printf("</text>\n")
}

// x returns the position of a time on the axis, of which there is one.
func (p *picture) x(seconds float64) float64 {
	return p.left + seconds/p.total*(svgWidth-p.left-p.right)
}

// axis draws lines at round times: from four to ten, so that their labels have room.
func (p *picture) axis(top, bottom int) {
	if p.total <= 0 {
		return
	}
	power := math.Pow(10, math.Floor(math.Log10(p.total)))
	step := power
	for _, f := range []float64{0.5, 0.2} {
		if p.total/step < 4 {
			step = power * f
		}
	}
	for k := 0; float64(k)*step <= p.total; k++ {
		at := float64(k) * step
		p.printf(`<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#e0e0e0"/>`+"\n", p.x(at), p.x(at), top-6, bottom)
		p.text(p.x(at), bottom+14, "middle", "#555", FormatSeconds(at))
	}
}

// track draws the rows of a run from y on, and returns where they end.
func (p *picture) track(t *Track, at float64, y int) int {
	rows := map[schedule.Resource]int{}
	for _, resource := range resourcesOf(t.Line.Graph) {
		rows[resource] = y
		p.text(p.left-svgEdge, y+16, "end", "#000", rowLabel(t, resource))
		y += svgRow
	}
	for i, s := range t.Line.Spans {
		if s.End <= s.Start {
			continue
		}
		task := &t.Line.Graph.Tasks[i]
		from, to := p.x(at+s.Start), p.x(at+s.End)
		p.printf(`<rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s" stroke="white" stroke-width="0.5"><title>%v: %s</title></rect>`+"\n",
			from, rows[task.Resource]+2, to-from, svgRow-4, opColours[task.Op], task, FormatSeconds(s.End-s.Start))
		if label := fmt.Sprint(task.Chunk); to-from > wide(label)+4 {
			p.text((from+to)/2, rows[task.Resource]+16, "middle", "#fff", label)
		}
	}
	return y
}

// keyGap is the width that the key has for an operation apart from its name: the coloured square,
// and space.
const keyGap = 14 + 2*svgEdge

// keyLines returns the operations of the tracks, as many in a line as fit.
func (p *picture) keyLines(tracks []Track) (lines [][]schedule.Op) {
	var seen [schedule.Ops]bool
	for i := range tracks {
		for j := range tracks[i].Line.Graph.Tasks {
			seen[tracks[i].Line.Graph.Tasks[j].Op] = true
		}
	}
	x := float64(svgWidth)
	for op, yes := range seen {
		if !yes {
			continue
		}
		width := keyGap + wide(schedule.Op(op).String())
		if x+width > svgWidth {
			x, lines = p.left, append(lines, nil)
		}
		x += width
		lines[len(lines)-1] = append(lines[len(lines)-1], schedule.Op(op))
	}
	return lines
}

// key names colours.
func (p *picture) key(y int, ops []schedule.Op) {
	x := p.left
	for _, op := range ops {
		p.printf(`<rect x="%.1f" y="%d" width="10" height="10" fill="%s"/>`+"\n", x, y-9, opColours[op])
		p.text(x+14, y, "start", "#000", op.String())
		x += keyGap + wide(op.String())
	}
}

// resourcesOf returns the resources that a graph uses.
func resourcesOf(g *schedule.Graph) []schedule.Resource {
	var used [schedule.Resources]bool
	for i := range g.Tasks {
		used[g.Tasks[i].Resource] = true
	}
	var out []schedule.Resource
	for resource, yes := range used {
		if yes {
			out = append(out, schedule.Resource(resource))
		}
	}
	return out
}
