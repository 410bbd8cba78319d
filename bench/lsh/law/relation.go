package law

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"gonum.org/v1/gonum/mat"

	"github.com/switchyard-moe/switchyard/lsh"
)

// training is what other tasks of bench lsh write of a variant: the gain that fine-tuning kept, or
// the contribution of experts where training began from nothing.
type training struct {
	Task    string  `json:"task"`
	Seed    int     `json:"seed"` // 0: the mean over seeds
	Variant string  `json:"variant"`
	Rows    int     `json:"rows"`
	Rate    float64 `json:"rate"`
	Loss    float64 `json:"val_loss"` // 0 where speed alone was measured
	Gain    float64 `json:"gain"`
	Kept    float64 `json:"contribution_kept"`
}

// lost is the part that was lost.
func (t training) lost() float64 {
	if t.Task == "finetune" {
		return 1 - t.Gain
	}
	return 1 - t.Kept
}

// readTrainings reads the lines of a file that are of training.
func readTrainings(path string) (list []training, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var t training
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		if t.Task != Task && t.Rows > 0 && t.Loss > 0 {
			list = append(list, t)
		}
	}
	return list, lines.Err()
}

// pair is a variant's errors beside what its training lost.
type pair struct {
	family        string
	task, variant string
	rows          int
	error         mean
	lost          float64 // in the mean over seeds
	seeds         int
}

// The families of variants, which lose differently at the same error.
const (
	ofBits       = "all rows in few bits"
	ofClusters   = "clusters, gradients of all rows"
	ofAllLegs    = "clusters on all legs"
	ofIdentities = "clusters, identity"
)

func (v variant) family() string {
	switch {
	case v.rates == nil:
		return ofBits
	case v.way.Clusters.Config.Compensation == lsh.Identity:
		return ofIdentities
	case v.way.ClusterGradients:
		return ofAllLegs
	}
	return ofClusters
}

// pairsOf finds the errors of each variant that was trained. Of a variant with groups that is the
// error for the same number of rows.
func pairsOf(all []*series, trained []training) (pairs []pair) {
	type key struct {
		task, variant string
		rows          int
	}
	losses := map[key][]training{}
	var keys []key
	for _, t := range trained {
		k := key{t.Task, t.Variant, t.Rows}
		if losses[k] == nil {
			keys = append(keys, k)
		}
		losses[k] = append(losses[k], t)
	}
	for _, k := range keys {
		list := losses[k]
		if slices.ContainsFunc(list, func(t training) bool { return t.Seed > 0 }) {
			list = slices.DeleteFunc(list, func(t training) bool { return t.Seed == 0 })
		}
		p := pair{task: k.task, variant: k.variant, rows: k.rows, seeds: len(list)}
		if !p.find(all, list[0].Rate) {
			continue
		}
		for _, t := range list {
			p.lost += t.lost() / float64(len(list))
		}
		pairs = append(pairs, p)
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.task, b.task), strings.Compare(a.family, b.family), cmp.Compare(a.error.squareWeights(), b.error.squareWeights()))
	})
	return pairs
}

// find looks up family and errors. The name of a variant may end in its rate: clusters-40.
func (p *pair) find(all []*series, rate float64) bool {
	name := strings.TrimSuffix(p.variant, fmt.Sprintf("-%.0f", 100*rate))
	for _, v := range variants() {
		if v.name != name {
			continue
		}
		rows := p.rows
		if v.rates == nil {
			rows, rate = 0, 1
		}
		for _, s := range all {
			if s.variant == name && s.rate == rate {
				p.family = v.family()
				p.error = s.at[rows]
				return p.error.n > 0
			}
		}
	}
	return false
}

// fitLoss are the least-squares a and b of lost = a·(error of weights' gradients)² + b·(error of
// rows' gradients)², and what is left: the root of the mean square. A loss weighs the less the
// larger it is, so that small ones count.
func fitLoss(pairs []pair) (a, b, left float64, ok bool) {
	if len(pairs) < 3 {
		return 0, 0, 0, false
	}
	m, y := mat.NewDense(len(pairs), 2, nil), mat.NewVecDense(len(pairs), nil)
	for i, p := range pairs {
		weight := 1 / (math.Abs(p.lost) + 0.05)
		m.SetRow(i, []float64{weight * p.error.squareWeights(), weight * p.error.squareValues()})
		y.SetVec(i, weight*p.lost)
	}
	var x mat.VecDense
	if x.SolveVec(m, y) != nil {
		return 0, 0, 0, false
	}
	a, b = x.AtVec(0), x.AtVec(1)
	return a, b, leftOf(pairs, a, b), true
}

// leftOf is the root of the mean square of what a law leaves.
func leftOf(pairs []pair, a, b float64) (left float64) {
	for _, p := range pairs {
		d := a*p.error.squareWeights() + b*p.error.squareValues() - p.lost
		left += d * d / float64(len(pairs))
	}
	return math.Sqrt(left)
}

// writeRelation prints what was lost beside the errors, and the laws between them.
func writeRelation(stdout io.Writer, pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\ntask\tvariant\trows\tseeds\toutput²\tweights²\trows' gradients²\tlost\tlost/output²\tlaw\t")
	for _, p := range pairs {
		law := "-"
		if a, b, _, ok := fitLoss(ofTask(pairs, p.task)); ok {
			law = fmt.Sprintf("%.3f", a*p.error.squareWeights()+b*p.error.squareValues())
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.4f\t%.4f\t%.4f\t%.3f\t%.1f\t%s\t\n", p.task, p.variant, p.rows, p.seeds,
			p.error.squareOutput(), p.error.squareWeights(), p.error.squareValues(), p.lost, p.lost/p.error.squareOutput(), law)
	}
	w.Flush()
	for _, task := range []string{"finetune", "lm", "mlm"} {
		all := ofTask(pairs, task)
		a, b, left, ok := fitLoss(all)
		if !ok {
			continue
		}
		fmt.Fprintf(stdout, "%s: lost = %.2f·weights² + %.2f·(rows' gradients)², ± %.3f (%d ways)\n", task, a, b, left, len(all))
		for _, family := range families() {
			of := slices.DeleteFunc(slices.Clone(all), func(p pair) bool { return p.family != family })
			if len(of) > 0 {
				fmt.Fprintf(stdout, "  %s: ± %.3f (%d ways)\n", family, leftOf(of, a, b), len(of))
			}
		}
	}
}

// ofTask are the pairs of a task.
func ofTask(pairs []pair, task string) []pair {
	return slices.DeleteFunc(slices.Clone(pairs), func(p pair) bool { return p.task != task })
}

// families lists them.
func families() []string { return []string{ofBits, ofClusters, ofAllLegs, ofIdentities} }
