package schedule

import (
	"strings"
	"unicode/utf8"
)

// String draws the graph: a line for each resource that it uses, and a column for each moment if
// all tasks took equally long.
func (g *Graph) String() string {
	unit := make([]float64, len(g.Tasks))
	for i := range unit {
		unit[i] = 1
	}
	line := walk(g, unit)
	columns := int(line.Makespan())
	if columns == 0 {
		return "(empty)\n"
	}
	var cells [Resources][]string
	widths := make([]int, columns)
	for i, s := range line.Spans {
		resource, at := g.Tasks[i].Resource, int(s.Start)
		if cells[resource] == nil {
			cells[resource] = make([]string, columns)
		}
		cells[resource][at] = g.Tasks[i].String()
		widths[at] = max(widths[at], utf8.RuneCountInString(cells[resource][at]))
	}
	var b strings.Builder
	for resource, row := range cells {
		if row == nil {
			continue
		}
		text := pad(Resource(resource).String(), 7)
		for at, cell := range row {
			if cell == "" {
				cell = "·"
			}
			text += "  " + pad(cell, widths[at])
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	return b.String()
}

// pad fills s with blanks up to a width in characters.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
