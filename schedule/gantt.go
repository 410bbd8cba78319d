package schedule

import (
	"fmt"
	"strings"
)

// ganttGlyphs stand for the operations, by Op.
const ganttGlyphs = "drnp>(E)<usgw"

// Gantt draws the timeline as text: a line for each lane that the graph uses, of so many characters. A task is its
// operation's character and dashes to its end; what ends within the character in which it began may be covered by what follows.
func (t *Timeline) Gantt(width int) string {
	if width < 1 {
		panic(fmt.Sprintf("schedule: a chart of width %d; want at least 1", width))
	}
	total := t.Makespan()
	var rows [Lanes][]rune
	var seen [Ops]bool
	for i, s := range t.Spans {
		task := &t.Graph.Tasks[i]
		if rows[task.Lane] == nil {
			rows[task.Lane] = []rune(strings.Repeat("·", width))
		}
		if s.End <= s.Start {
			continue
		}
		seen[task.Op] = true
		from := min(width-1, int(s.Start/total*float64(width)))
		to := max(from+1, min(width, int(s.End/total*float64(width))))
		row := rows[task.Lane][from:to]
		for j := range row {
			row[j] = '-'
		}
		row[0] = rune(ganttGlyphs[task.Op])
	}
	var b strings.Builder
	for lane, row := range rows {
		if row != nil {
			fmt.Fprintf(&b, "%-7s  %s\n", Lane(lane), string(row))
		}
	}
	fmt.Fprintf(&b, "%-7s  0%*s\n", "", width-1, FormatSeconds(total))
	b.WriteString(legend(seen))
	return b.String()
}

// legend names the characters of the operations that a chart has.
func legend(seen [Ops]bool) string {
	var names []string
	for op, yes := range seen {
		if yes {
			names = append(names, fmt.Sprintf("%c %s", ganttGlyphs[op], Op(op)))
		}
	}
	return strings.TrimRight(fmt.Sprintf("%-7s  %s", "", strings.Join(names, ", ")), " ") + "\n"
}

// FormatSeconds writes a time with three digits and the unit that suits it.
func FormatSeconds(s float64) string {
	switch {
	case s >= 1:
		return fmt.Sprintf("%.3g s", s)
	case s >= 1e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g µs", s*1e6)
}
