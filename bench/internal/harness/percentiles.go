package harness

import (
	"math"
	"slices"
	"time"
)

// Percentile returns the smallest of sorted, which is not empty, that is not below the share p of
// them.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[max(int(math.Ceil(p*float64(len(sorted))))-1, 0)]
}

// Median returns the middle of values, or the mean of the two middle ones; it sorts a copy.
func Median(values []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Microseconds returns d in µs.
func Microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
