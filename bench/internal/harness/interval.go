package harness

import (
	"math"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// Ratio is how often longer one thing takes than another, in rounds that time both: the geometric
// mean of the rounds' ratios, and its 95 % interval by Student's t of their logarithms. An interval
// takes two rounds or more; without it Low and High are 0.
type Ratio struct{ Mean, Low, High float64 }

// PairedRatio is the ratio of times a to times b of the same rounds.
func PairedRatio(a, b []time.Duration) Ratio {
	n := float64(len(a))
	sum, squares := 0.0, 0.0
	for i := range a {
		sum += math.Log(a[i].Seconds() / b[i].Seconds())
	}
	mean := sum / n
	for i := range a {
		off := math.Log(a[i].Seconds()/b[i].Seconds()) - mean
		squares += off * off
	}
	r := Ratio{Mean: math.Exp(mean)}
	if n < 2 {
		return r
	}
	half := distuv.StudentsT{Sigma: 1, Nu: n - 1}.Quantile(0.975) * math.Sqrt(squares/(n-1)/n)
	r.Low, r.High = math.Exp(mean-half), math.Exp(mean+half)
	return r
}
