package quality

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/quant"
	"github.com/switchyard-moe/switchyard/lsh"
)

// Clusters are rows that travel as centroids. Without Rows, or at a Rate of 1, all rows travel.
type Clusters struct {
	Config lsh.Config
	// Rows is the mean number of rows of a group, which are clustered together.
	Rows int
}

// power is the law of an error: at·(rows/1024)^−b·(rate/0.2)^−c.
type power struct{ at, b, c float64 }

func (p power) of(rows int, rate float64) float64 {
	return p.at * math.Pow(float64(rows)/1024, -p.b) * math.Pow(rate/defaultRate, -p.c)
}

const defaultRate = 0.2

// law is what clusters of one kind do to outputs, to the gradients of experts' weights, and to the
// rows' gradients if they are clustered too.
type law struct{ output, weights, rows power }

// Laws of ways to cluster and to restore answers, fitted by bench lsh -task errors: the root of the
// mean square over the two layers of the model after 300 steps, over 65,536 tokens, in groups of 64
// to 16,384 rows at rates of 0.05 to 0.4. They are within a factor of 1.15 or so of what was
// measured. Those that end in Once are of one Lloyd iteration, as is identity; the others of three.
var (
	none             = law{power{0.233, 0.24, 0.37}, power{0.219, 0.23, 0.42}, power{0.83, 0.02, 0.14}}
	noneOnce         = law{power{0.251, 0.23, 0.39}, power{0.235, 0.22, 0.44}, power{0.83, 0.02, 0.14}}
	noneUnrefined    = law{power{0.394, 0.18, 0.39}, power{0.366, 0.18, 0.44}, power{0.88, 0.02, 0.14}}
	interpolated     = law{power{0.121, 0.38, 0.50}, power{0.155, 0.32, 0.50}, power{0.90, 0.01, 0.10}}
	interpolatedOnce = law{power{0.147, 0.34, 0.48}, power{0.175, 0.31, 0.51}, power{0.90, 0.01, 0.11}}
	narrow           = law{power{0.221, 0.20, 0.40}, power{0.234, 0.20, 0.45}, power{0.90, 0.02, 0.14}}
	identity         = law{power{0.376, 0.23, 0.39}, power{0.252, 0.23, 0.44}, power{1.23, 0.02, 0.15}}
	identityNoStep   = law{power{0.55, 0.17, 0.5}, power{0.36, 0.18, 0.5}, power{1.18, 0.01, 0.15}}
)

// narrowBandwidth is a bandwidth below which interpolation stays at an error of 0.15 however many
// rows there are.
const narrowBandwidth = 5

func lawOf(c lsh.Config) law {
	unrefined, once := c.Refine < 0, c.Refine == 1
	switch {
	case c.Compensation == lsh.Identity && unrefined:
		return identityNoStep
	case c.Compensation == lsh.Identity:
		return identity
	case c.Compensation == lsh.Interpolate && c.Bandwidth > 0 && c.Bandwidth < narrowBandwidth:
		return narrow
	case c.Compensation == lsh.Interpolate && once:
		return interpolatedOnce
	case c.Compensation == lsh.Interpolate:
		return interpolated
	case unrefined:
		return noneUnrefined
	case once:
		return noneOnce
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
// take their derivative at the centroid in place of that at the row; that errs as much as the
// answer of the centroid would, as was measured within a tenth.
func (c Clusters) errors(gradients bool) Errors {
	if !c.used() {
		return Errors{}
	}
	l := lawOf(c.Config)
	e := Errors{Output: l.output.of(c.Rows, c.rate()), Weights: l.weights.of(c.Rows, c.rate()), Rows: l.rows.of(c.Rows, c.rate())}
	if !gradients {
		e.Rows = min(e.Rows, none.output.of(c.Rows, c.rate()))
	}
	return e
}

// Lost predicts the share of the gain that is lost where rows go and answers come as clusters, and,
// if gradients is set, gradients too; numbers are float32.
func (c Clusters) Lost(gradients bool) float64 {
	return Way{Clusters: c, ClusterGradients: gradients}.Lost()
}

// RowsFor returns the least number of rows in a group at which clusters in bf16 lose at most a
// share of the gain, if the gradients of all rows travel in NVFP4; and false if no group of a
// billion rows is enough.
func RowsFor(c lsh.Config, lost float64) (rows int, ok bool) {
	const most = 1_000_000_000
	w := Way{Legs: [legs]quant.Format{quant.BF16, quant.BF16, quant.NVFP4H, quant.NVFP4H}}
	enough := func(n int) bool {
		w.Clusters = Clusters{Config: c, Rows: n}
		return w.Lost() <= lost
	}
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
