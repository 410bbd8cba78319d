package main

import (
	"fmt"
	"io"
)

// limit is what one figure may be.
type limit struct {
	name  string
	of    func(*figures) int
	goal  int
	least bool // the goal is the least that the figure may be, not the most
	// ceiling, unless it is 0, is the most that a figure may be that has not reached its goal.
	ceiling int
}

// limits holds the limits of this module. A row with a ceiling has not reached its goal: the
// check fails only when the figure grows above the ceiling. Lower a ceiling with each change that
// lowers the figure, and delete it when the goal is reached.
var limits = []limit{
	{name: "methods of Layer", of: func(f *figures) int { return f.layerMethods }, goal: 40, ceiling: 41},
	{name: "fields of Layer", of: func(f *figures) int { return f.layerFields }, goal: 16, ceiling: 22},
	{name: "files of the root package", of: func(f *figures) int { return f.rootFiles }, goal: 14},
	{name: "lines of the root package", of: func(f *figures) int { return f.rootLines }, goal: 1800, ceiling: 1850},
	{name: "comment lines over 100 columns", of: func(f *figures) int { return len(f.wide) }, ceiling: 10},
	{name: "lines of the longest function", of: func(f *figures) int { return f.longest }, goal: 60},
	{name: "90th percentile of function lines", of: (*figures).percentile90, goal: 22},
	{name: "exported names that lead to internal types", of: func(f *figures) int { return len(f.internal) }},
	{name: "files directly in bench", of: func(f *figures) int { return f.benchFiles }, goal: 12},
	{name: "lines of README.md", of: func(f *figures) int { return f.readmeLines }, goal: 90},
	{name: "words of README.md", of: func(f *figures) int { return f.readmeWords }, goal: 900},
	{name: "words of docs", of: func(f *figures) int { return f.docWords }, goal: 8500},
	{name: "words that have a standard one", of: func(f *figures) int { return len(f.words) }, ceiling: 5},
	{name: "Example functions", of: func(f *figures) int { return f.examples }, goal: 30, least: true},
}

// met tells whether the goal is reached, and allowed whether the check passes.
func (l limit) met(n int) bool {
	if l.least {
		return n >= l.goal
	}
	return n <= l.goal
}

func (l limit) allowed(n int) bool {
	return l.met(n) || !l.least && n <= l.ceiling
}

func (l limit) sign() string {
	if l.least {
		return ">="
	}
	return "<="
}

// remark says how a figure stands to its limit.
func (l limit) remark(n int) string {
	switch {
	case l.met(n):
		return ""
	case l.allowed(n):
		return fmt.Sprintf("  to do, at most %d until then", l.ceiling)
	}
	return "  fails"
}

// report prints a row for each limit and returns false if a figure is past its limit.
func report(out io.Writer, f *figures, limits []limit) bool {
	ok := true
	fmt.Fprintf(out, "%-44s %8s %11s\n", "figure", "measured", "goal")
	for _, l := range limits {
		n := l.of(f)
		ok = ok && l.allowed(n)
		fmt.Fprintf(out, "%-44s %8d   %s %6d%s\n", l.name, n, l.sign(), l.goal, l.remark(n))
	}
	return ok
}
