package law

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// series is what a variant does at a rate, in the mean of squares over blocks and seeds.
type series struct {
	variant string
	rate    float64
	bytes   float64
	at      map[int]mean // by rows of a group
}

// mean is the mean of several squared errors over the same number of tokens.
type mean struct {
	output, weights, values float64
	n, tokens               int
}

// seriesOf sorts outcomes by variant and rate. Of several numbers of tokens the largest counts.
func seriesOf(list []outcome) (all []*series) {
	find := func(o outcome) *series {
		for _, s := range all {
			if s.variant == o.Variant && s.rate == o.Rate {
				return s
			}
		}
		all = append(all, &series{variant: o.Variant, rate: o.Rate, bytes: o.Bytes, at: map[int]mean{}})
		return all[len(all)-1]
	}
	for _, o := range list {
		s := find(o)
		m := s.at[o.Rows]
		if o.Tokens < m.tokens {
			continue // gradients of weights, which are sums over tokens, err less over more of them
		}
		if o.Tokens > m.tokens {
			m = mean{tokens: o.Tokens}
		}
		m.output += o.Output * o.Output
		m.weights += o.Weights * o.Weights
		m.values += o.Values * o.Values
		m.n++
		s.at[o.Rows] = m
	}
	slices.SortStableFunc(all, func(a, b *series) int {
		return cmp.Or(strings.Compare(a.variant, b.variant), cmp.Compare(a.rate, b.rate))
	})
	return all
}

// Means of squares, and their roots.
func (m mean) squareOutput() float64  { return m.output / float64(m.n) }
func (m mean) squareWeights() float64 { return m.weights / float64(m.n) }
func (m mean) squareValues() float64  { return m.values / float64(m.n) }
func (m mean) errorOutput() float64   { return math.Sqrt(m.squareOutput()) }
func (m mean) errorWeights() float64  { return math.Sqrt(m.squareWeights()) }
func (m mean) errorValues() float64   { return math.Sqrt(m.squareValues()) }

// writeTable prints a line for each variant, rate and number of rows.
func writeTable(stdout io.Writer, list []outcome) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "variant\trate\trows\tbytes\toutput\tweights\trows' gradients\tpredicted\t\t\tblocks\t")
	for _, s := range seriesOf(list) {
		for _, n := range slices.Sorted(maps.Keys(s.at)) {
			m := s.at[n]
			fmt.Fprintf(w, "%s\t%.2f\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t", s.variant, s.rate, n, s.bytes, m.errorOutput(), m.errorWeights(), m.errorValues())
			if e, ok := (outcome{Variant: s.variant, Rate: s.rate, Rows: n}).predicted(); ok {
				fmt.Fprintf(w, "%.3f\t%.3f\t%.3f\t", e.Output, e.Weights, e.Rows)
			} else {
				fmt.Fprint(w, "-\t-\t-\t")
			}
			fmt.Fprintf(w, "%d\t\n", m.n)
		}
	}
	w.Flush()
}
