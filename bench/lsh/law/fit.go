package law

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/tabwriter"

	"gonum.org/v1/gonum/mat"

	"github.com/switchyard-moe/switchyard/internal/quality"
	"github.com/switchyard-moe/switchyard/lsh"
)

// power is the law error = at·(rows/1024)^−b·(rate/0.2)^−c.
type power struct {
	at, b, c float64
	// spread is a factor between the law and what was measured: e to the root of the mean squared
	// logarithm.
	spread float64
}

// The units of a law.
const unitRows, unitRate = 1024, 0.2

func (p power) of(rows int, rate float64) float64 {
	return p.at * math.Pow(float64(rows)/unitRows, -p.b) * math.Pow(rate/unitRate, -p.c)
}

// sample is an error at a point.
type sample struct {
	rows  int
	rate  float64
	error float64
}

// fitPower fits a law by least squares of logarithms. Samples of one rate leave c 0. ok is false if
// they are too few, or of one number of rows alone.
func fitPower(list []sample) (p power, ok bool) {
	rates, rows := map[float64]bool{}, map[int]bool{}
	for _, s := range list {
		rates[s.rate], rows[s.rows] = true, true
	}
	columns := 2
	if len(rates) > 1 {
		columns = 3
	}
	if len(rows) < 2 || len(list) < columns {
		return p, false
	}
	a, y := mat.NewDense(len(list), columns, nil), mat.NewVecDense(len(list), nil)
	for i, s := range list {
		a.Set(i, 0, 1)
		a.Set(i, 1, -math.Log(float64(s.rows)/unitRows))
		if columns == 3 {
			a.Set(i, 2, -math.Log(s.rate/unitRate))
		}
		y.SetVec(i, math.Log(s.error))
	}
	var x mat.VecDense
	if x.SolveVec(a, y) != nil {
		return p, false
	}
	p.at, p.b = math.Exp(x.AtVec(0)), x.AtVec(1)
	if columns == 3 {
		p.c = x.AtVec(2)
	}
	var off float64
	for _, s := range list {
		d := math.Log(p.of(s.rows, s.rate) / s.error)
		off += d * d
	}
	p.spread = math.Exp(math.Sqrt(off / float64(len(list))))
	return p, true
}

// kinds are the three errors of an outcome.
var kinds = []struct {
	name string
	of   func(mean) float64
}{{"output", mean.errorOutput}, {"weights", mean.errorWeights}, {"rows' gradients", mean.errorValues}}

// samplesOf are the errors of a variant with groups at all rates and numbers of rows.
func samplesOf(all []*series, variant string, of func(mean) float64) (list []sample) {
	for _, s := range all {
		if s.variant != variant {
			continue
		}
		for _, n := range slices.Sorted(maps.Keys(s.at)) {
			if n > 0 {
				list = append(list, sample{n, s.rate, of(s.at[n])})
			}
		}
	}
	return list
}

// writeFits prints the law of each variant with groups.
func writeFits(stdout io.Writer, list []outcome) {
	all, written := seriesOf(list), map[string]bool{}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, s := range all {
		if written[s.variant] {
			continue
		}
		for _, kind := range kinds {
			p, ok := fitPower(samplesOf(all, s.variant, kind.of))
			if !ok {
				continue
			}
			if len(written) == 0 {
				fmt.Fprintf(w, "\nerror = a·(rows/%d)^−b·(rate/%v)^−c\t\ta\tb\tc\twithin a factor\t\n", unitRows, unitRate)
			}
			written[s.variant] = true
			fmt.Fprintf(w, "%s\t%s\t%.3f\t%.2f\t%.2f\t%.2f\t\n", s.variant, kind.name, p.at, p.b, p.c, p.spread)
		}
	}
	w.Flush()
}

// writeSizes prints from how many rows in a group on clusters keep a share of the gain, as package
// quality predicts, where gradients of all rows travel in four bits.
func writeSizes(stdout io.Writer) {
	for _, rate := range []float64{0.1, 0.2, 0.4} {
		fmt.Fprintf(stdout, "\nclusters at a rate of %.2f keep", rate)
		for _, kept := range []float64{0.8, 0.9, 0.95} {
			if rows, ok := quality.RowsFor(lsh.Config{Rate: rate}, 1-kept); ok {
				fmt.Fprintf(stdout, "  %.2f from %d rows in a group", kept, rows)
			}
		}
	}
	fmt.Fprintln(stdout)
}
