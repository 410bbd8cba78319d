package trace

import (
	"fmt"
	"strings"

	"github.com/switchyard-moe/switchyard/schedule"
)

// ganttGlyphs are the characters of the operations, by Op.
const ganttGlyphs = "drnp>(E)<usgw"

// Gantt draws a timeline as text of the given width in characters, with a line for each resource
// that the graph uses. A task is its operation's character, followed by dashes to its end; a task
// that ends within the character in which it began may be covered by the next.
func Gantt(t *schedule.Timeline, width int) string {
	if width < 1 {
		panic(fmt.Sprintf("trace: a chart of width %d; want at least 1", width))
	}
	total := t.Makespan()
	var rows [schedule.Resources][]rune
	var seen [schedule.Ops]bool
	for i, s := range t.Spans {
		task := &t.Graph.Tasks[i]
		if rows[task.Resource] == nil {
			rows[task.Resource] = []rune(strings.Repeat("·", width))
		}
		if s.End <= s.Start {
			continue
		}
		seen[task.Op] = true
		from := min(width-1, int(s.Start/total*float64(width)))
		to := max(from+1, min(width, int(s.End/total*float64(width))))
		row := rows[task.Resource][from:to]
		for j := range row {
			row[j] = '-'
		}
		row[0] = rune(ganttGlyphs[task.Op])
	}
	var b strings.Builder
	for resource, row := range rows {
		if row != nil {
			fmt.Fprintf(&b, "%-7s  %s\n", schedule.Resource(resource), string(row))
		}
	}
	fmt.Fprintf(&b, "%-7s  0%*s\n", "", width-1, FormatSeconds(total))
	b.WriteString(legend(seen))
	return b.String()
}

// legend explains the characters of the operations in a chart.
func legend(seen [schedule.Ops]bool) string {
	var names []string
	for op, yes := range seen {
		if yes {
			names = append(names, fmt.Sprintf("%c %s", ganttGlyphs[op], schedule.Op(op)))
		}
	}
	return strings.TrimRight(fmt.Sprintf("%-7s  %s", "", strings.Join(names, ", ")), " ") + "\n"
}

// FormatSeconds formats a time with three digits and a fitting unit.
func FormatSeconds(s float64) string {
	switch {
	case s >= 1:
		return fmt.Sprintf("%.3g s", s)
	case s >= 1e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g µs", s*1e6)
}
