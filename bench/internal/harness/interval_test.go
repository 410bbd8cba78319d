package harness

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPairedRatio: rounds that are slow for both change nothing; of logarithms −d, 0 and d the
// interval is 4.303·d/√3 on both sides, by a table of Student's t.
func TestPairedRatio(t *testing.T) {
	const d = 0.1
	var a, b []time.Duration
	for i, slow := range []float64{1, 7, 2} {
		b = append(b, time.Duration(slow*1e9))
		a = append(a, time.Duration(2*slow*1e9*math.Exp(d*float64(i-1))))
	}
	r := PairedRatio(a, b)
	require.InDelta(t, 2, r.Mean, 1e-6)
	half := math.Exp(4.302653 * d / math.Sqrt(3))
	require.InDelta(t, 2/half, r.Low, 1e-5)
	require.InDelta(t, 2*half, r.High, 1e-5)
	require.Equal(t, Ratio{Mean: 1}, PairedRatio(b[:1], b[:1]))
	require.Equal(t, Ratio{1, 1, 1}, PairedRatio(b, b))
}
