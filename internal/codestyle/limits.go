package main

import (
	"fmt"
	"io"
)

// limit is what one figure may be.
type limit struct {
	name  string
	of    func(*figures) int
	value int
	least bool // value is the least that the figure may be, not the most
}

// limits holds the limits of this module.
var limits = []limit{
	{name: "methods of Layer", of: func(f *figures) int { return f.layerMethods }, value: 40},
	{name: "fields of Layer", of: func(f *figures) int { return f.layerFields }, value: 16},
	{name: "files of the root package", of: func(f *figures) int { return f.rootFiles }, value: 20},
	{name: "lines of the root package", of: func(f *figures) int { return f.rootLines }, value: 2600},
	{name: "comment lines over 100 columns", of: func(f *figures) int { return len(f.wide) }},
	{name: "lines of the longest function", of: func(f *figures) int { return f.longest }, value: 60},
	{name: "90th percentile of function lines", of: (*figures).percentile90, value: 22},
	{name: "exported names that lead to internal types", of: func(f *figures) int { return len(f.internal) }},
	{name: "files directly in bench", of: func(f *figures) int { return f.benchFiles }, value: 12},
	{name: "lines of README.md", of: func(f *figures) int { return f.readmeLines }, value: 90},
	{name: "words of README.md", of: func(f *figures) int { return f.readmeWords }, value: 900},
	{name: "words of docs", of: func(f *figures) int { return f.docWords }, value: 14_000},
	{name: "words that have a standard one", of: func(f *figures) int { return len(f.words) }},
	{name: "Example functions", of: func(f *figures) int { return f.examples }, value: 30, least: true},
}

func (l limit) allows(n int) bool {
	if l.least {
		return n >= l.value
	}
	return n <= l.value
}

func (l limit) sign() string {
	if l.least {
		return ">="
	}
	return "<="
}

// report prints a row for each limit and returns false if a figure is past its limit.
func report(out io.Writer, f *figures, limits []limit) bool {
	ok := true
	fmt.Fprintf(out, "%-44s %8s %11s\n", "figure", "measured", "limit")
	for _, l := range limits {
		n, remark := l.of(f), ""
		if !l.allows(n) {
			ok, remark = false, "  fails"
		}
		fmt.Fprintf(out, "%-44s %8d   %s %6d%s\n", l.name, n, l.sign(), l.value, remark)
	}
	return ok
}
