package quality

import (
	"math"

	"github.com/switchyard-moe/switchyard/lsh"
)

// Clusters are rows that travel as centroids. Without Rows, or at a Rate of 1, all rows travel.
type Clusters struct {
	Config lsh.Config
	// Rows is the mean number of rows of a group, which are clustered together.
	Rows int
}

// power is the law of an error: at·(rows/1000)^−b·(rate/0.2)^−c.
type power struct{ at, b, c float64 }

func (p power) of(rows int, rate float64) float64 {
	return p.at * math.Pow(float64(rows)/1000, -p.b) * math.Pow(rate/defaultRate, -p.c)
}

const defaultRate = 0.2

// law is what clusters of one kind do to outputs, to the gradients of experts' parameters, and to
// the rows' gradients if they are clustered too. lost is the lost share of the gain for each unit
// of the squared error of outputs, and lostBackward for each of that of clustered gradients.
type law struct {
	output, weights, rows power
	lost, lostBackward    float64
}

// Laws of ways to cluster and to restore answers: the means of two blocks of the model after 300
// steps, for groups of 64 to 13 500 rows.
var (
	none           = law{power{0.233, 0.25, 0.4}, power{0.2, 0.25, 0.4}, power{0.88, 0.02, 0.28}, 13, 0}
	noneUnrefined  = law{power{0.357, 0.18, 0.4}, power{0.3, 0.18, 0.4}, power{0.88, 0.02, 0.28}, 13, 0}
	interpolated   = law{power{0.14, 0.31, 0.5}, power{0.13, 0.29, 0.5}, power{0.95, 0.02, 0.28}, 13, 0.13}
	narrow         = law{power{0.203, 0.2, 0.4}, power{0.15, 0.2, 0.4}, power{0.95, 0.02, 0.28}, 13, 0.13}
	identity       = law{power{0.316, 0.23, 0.45}, power{0.2, 0.25, 0.4}, power{1.15, 0.02, 0.28}, 8, 0}
	identityNoStep = law{power{0.48, 0.17, 0.4}, power{0.3, 0.18, 0.4}, power{1.15, 0.02, 0.28}, 6.5, 0}
)

// narrowBandwidth is a bandwidth below which interpolation stays at an error of 0.15 however many
// rows there are.
const narrowBandwidth = 5

func lawOf(c lsh.Config) law {
	unrefined := c.Refine < 0
	switch {
	case c.Compensation == lsh.Identity && unrefined:
		return identityNoStep
	case c.Compensation == lsh.Identity:
		return identity
	case c.Compensation == lsh.Interpolate && c.Bandwidth > 0 && c.Bandwidth < narrowBandwidth:
		return narrow
	case c.Compensation == lsh.Interpolate:
		return interpolated
	case unrefined:
		return noneUnrefined
	}
	return none
}

// used tells whether rows are clustered.
func (c Clusters) used() bool { return c.Rows > 0 && c.rate() < 1 }

func (c Clusters) rate() float64 {
	if c.Config.Rate == 0 {
		return defaultRate
	}
	return c.Config.Rate
}

// errors predicts what clusters of float32 rows do. Where the gradients of all rows travel, experts
// take their own derivative at the centroid in place of that at the row, and err as much as the
// centroid's answer does.
func (c Clusters) errors(gradients bool) Errors {
	if !c.used() {
		return Errors{}
	}
	l := lawOf(c.Config)
	e := Errors{Output: l.output.of(c.Rows, c.rate()), Weights: l.weights.of(c.Rows, c.rate())}
	if gradients {
		e.Rows = l.rows.of(c.Rows, c.rate())
	} else {
		e.Rows = none.output.of(c.Rows, c.rate())
	}
	return e
}

// Lost predicts the share of the gain that is lost where rows go and answers come as clusters, and,
// if gradients is set, gradients too; numbers are float32.
func (c Clusters) Lost(gradients bool) float64 {
	if !c.used() {
		return 0
	}
	l, e := lawOf(c.Config), c.errors(gradients)
	lost := l.lost * square(e.Output)
	if gradients {
		lost += l.lostBackward * square(e.Rows)
	}
	return lost
}

// RowsFor returns the least number of rows in a group at which clusters lose at most a share of the
// gain, if the gradients of all rows travel; and false if no group of a billion rows is enough.
func RowsFor(c lsh.Config, lost float64) (rows int, ok bool) {
	const most = 1_000_000_000
	enough := func(n int) bool { return (Clusters{Config: c, Rows: n}).Lost(false) <= lost }
	if !enough(most) {
		return 0, false
	}
	low, high := 0, most // the least is above low and at most high
	for high-low > 1 {
		if middle := (low + high) / 2; enough(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high, true
}
