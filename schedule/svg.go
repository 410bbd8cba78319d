package schedule

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
)

// The colours of the operations, by Op: grey for what is not of the exchange, blue on the way out, orange on the way back, green
// for experts, purple for gradients; told apart by colour-blind readers.
var opColours = [Ops]string{
	"#b5b5b5", "#8c8c8c", "#cfe3f0", "#9ecae1", "#0072b2", "#56b4e9", "#009e73", "#f0c05a", "#e69f00", "#fdd9a0", "#66c2a4", "#aa4499", "#117733",
}

// The measures of a picture, in pixels.
const (
	svgWidth, svgLeft, svgRight = 1000, 130, 24
	svgLane, svgTop, svgFoot    = 24, 34, 52
	svgGap                      = 10
)

// WriteSVG draws tracks below each other on one axis of time, a row for each lane that a track's graph uses.
func WriteSVG(w io.Writer, title string, tracks []Track) error {
	p := picture{w: bufio.NewWriter(w)}
	first := firstBegin(tracks)
	height := svgTop + svgFoot
	for i := range tracks {
		p.total = max(p.total, beginOf(&tracks[i]).Sub(first).Seconds()+tracks[i].Line.Makespan())
		height += len(lanesOf(tracks[i].Line.Graph))*svgLane + svgGap
	}
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		svgWidth, height, svgWidth, height)
	p.printf(`<rect width="100%%" height="100%%" fill="white"/>` + "\n")
	p.text(svgLeft, 20, "start", "#000", title)
	p.axis(height - svgFoot)
	y := svgTop
	for i := range tracks {
		y = p.track(&tracks[i], beginOf(&tracks[i]).Sub(first).Seconds(), y) + svgGap
	}
	p.key(height-12, tracks)
	p.printf("</svg>\n")
	return p.w.Flush()
}

// picture writes an SVG; its buffer keeps the first error.
type picture struct {
	w     *bufio.Writer
	total float64 // seconds across
}

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p *picture) text(x float64, y int, anchor, colour, s string) {
	p.printf(`<text x="%.1f" y="%d" text-anchor="%s" fill="%s">`, x, y, anchor, colour)
	xml.EscapeText(p.w, []byte(s)) // an error stays in the buffer
	p.printf("</text>\n")
}

// x returns where a time lies.
func (p *picture) x(seconds float64) float64 {
	if p.total <= 0 {
		return svgLeft
	}
	return svgLeft + seconds/p.total*(svgWidth-svgLeft-svgRight)
}

// axis draws lines at round times.
func (p *picture) axis(bottom int) {
	if p.total <= 0 {
		return
	}
	step := math.Pow(10, math.Floor(math.Log10(p.total)))
	for _, f := range []float64{0.5, 0.2, 0.1} {
		if p.total/step < 4 {
			step = math.Pow(10, math.Floor(math.Log10(p.total))) * f
		}
	}
	for k := 0; float64(k)*step <= p.total; k++ {
		at := float64(k) * step
		p.printf(`<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#e0e0e0"/>`+"\n", p.x(at), p.x(at), svgTop-6, bottom)
		p.text(p.x(at), bottom+14, "middle", "#555", FormatSeconds(at))
	}
}

// track draws the lanes of a run from y on, and returns where it ended.
func (p *picture) track(t *Track, at float64, y int) int {
	rows := map[Lane]int{}
	for _, lane := range lanesOf(t.Line.Graph) {
		rows[lane] = y
		p.text(svgLeft-8, y+16, "end", "#000", fmt.Sprintf("rank %d %v", t.Rank, lane))
		y += svgLane
	}
	for i, s := range t.Line.Spans {
		if s.End <= s.Start {
			continue
		}
		task := &t.Line.Graph.Tasks[i]
		from, to := p.x(at+s.Start), p.x(at+s.End)
		p.printf(`<rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s" stroke="white" stroke-width="0.5"><title>%v: %s</title></rect>`+"\n",
			from, rows[task.Lane]+2, to-from, svgLane-4, opColours[task.Op], task, FormatSeconds(s.End-s.Start))
		if label := fmt.Sprint(task.Chunk); to-from > 14 {
			p.text((from+to)/2, rows[task.Lane]+16, "middle", "#fff", label)
		}
	}
	return y
}

// key names the colours that the tracks have.
func (p *picture) key(y int, tracks []Track) {
	var seen [Ops]bool
	for i := range tracks {
		for j := range tracks[i].Line.Graph.Tasks {
			seen[tracks[i].Line.Graph.Tasks[j].Op] = true
		}
	}
	x := float64(svgLeft)
	for op, yes := range seen {
		if !yes {
			continue
		}
		p.printf(`<rect x="%.1f" y="%d" width="10" height="10" fill="%s"/>`+"\n", x, y-9, opColours[op])
		p.text(x+14, y, "start", "#000", Op(op).String())
		x += 24 + 6.2*float64(len(Op(op).String()))
	}
}

// lanesOf returns the lanes that a graph uses.
func lanesOf(g *Graph) []Lane {
	var used [Lanes]bool
	for i := range g.Tasks {
		used[g.Tasks[i].Lane] = true
	}
	var out []Lane
	for lane, yes := range used {
		if yes {
			out = append(out, Lane(lane))
		}
	}
	return out
}
