package main

import (
	"fmt"
	"strings"
)

const (
	chartWidth = 40 // characters of the longest bar
	eighths    = "▏▎▍▌▋▊▉█"
	levels     = "▁▂▃▄▅▆▇█"
)

// barChart draws a bar for each expert, as long as its share of all choices.
func barChart(load []int) string {
	total, most := 0, 1
	for _, n := range load {
		total += n
		most = max(most, n)
	}
	var b strings.Builder
	for e, n := range load {
		fmt.Fprintf(&b, "  expert %3d %-*s %5.1f%%\n", e, chartWidth, bar(float64(n)/float64(most)), 100*float64(n)/float64(max(total, 1)))
	}
	return b.String()
}

// bar draws a share of chartWidth characters, to an eighth of one.
func bar(share float64) string {
	n := int(share*chartWidth*8 + 0.5)
	text := strings.Repeat("█", n/8)
	if n%8 > 0 {
		text += string([]rune(eighths)[n%8-1])
	}
	return text
}

// sparkline draws the load of all experts in a character each, the sum of the layers' loads scaled
// to the largest.
func sparkline(load [][]int) string {
	const widest = 32
	if len(load) == 0 || len(load[0]) > widest {
		return ""
	}
	sum, most := make([]int, len(load[0])), 1
	for _, layer := range load {
		for e, n := range layer {
			sum[e] += n
			most = max(most, sum[e])
		}
	}
	var b strings.Builder
	for _, n := range sum {
		b.WriteRune([]rune(levels)[n*7/most])
	}
	return b.String()
}

// imbalance is the largest load over the mean, in the layer where that is worst: 1 where all are
// even.
func imbalance(load [][]int) float64 {
	worst := 0.0
	for _, layer := range load {
		total, most := 0, 0
		for _, n := range layer {
			total += n
			most = max(most, n)
		}
		if total > 0 {
			worst = max(worst, float64(most)*float64(len(layer))/float64(total))
		}
	}
	return worst
}

// byteCount prints a number of bytes in powers of a thousand.
func byteCount(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	for v >= 999.95 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return fmt.Sprintf("%.1f %cB", v, units[i])
}
