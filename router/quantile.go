package router

import (
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// QuantileBalanced is [TopK] with a bias of the choice that is computed from the scores, in place
// of DeepSeek-V3's that is moved by counts. Even assignment is a linear programme, max Σ xₜₑ·sₜₑ
// with k experts a token and T·k/E tokens an expert, and the biases are prices of its dual. One
// round of coordinate descent on it is, for each token group: a token's threshold αₜ is the
// (k+1)-th largest of its sₜₑ + bₑ, which an expert has to exceed; expert e's price qₑ is the
// ⌈T·k/E⌉-th largest over the tokens of sₜₑ − αₜ, at which that many tokens would choose it. After
// a step bₑ moves to bₑ + Rate·(−q̄ₑ − bₑ), q̄ₑ the mean over the groups of the global batch, and
// the mean of all is taken off: see [Balancer].
//
// The choice itself uses the biases of the steps before, so it does not see the future. (Megatron's
// quantile balancing, which is OfLogits.)
type QuantileBalanced struct {
	// TopK's Bias is where the bias begins, with any score; BiasRate must be 0.
	TopK
	// Rate is how far the bias moves towards the prices, up to 1; 0 stands for 1. (1 less
	// Megatron's moving average.)
	Rate float32
	// OfLogits adds the bias to the logits in place of the scores, and takes for an expert's price
	// the (⌊T·k/E⌋+1)-th largest difference, at which one token more would choose it. It is for
	// logits within ±65536: differences beyond count as that. (Megatron.)
	OfLogits bool
}

var _ Router = QuantileBalanced{}

// New is described at [Router].
func (r QuantileBalanced) New(s Shape) (Gate, error) {
	p := overrides{name: "QuantileBalanced"}
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			p.faults = append(p.faults, fmt.Errorf("router: QuantileBalanced: "+format, args...))
		}
	}
	fault(!(r.Rate >= 0 && r.Rate <= 1), "rate is %v, want 0 to 1", r.Rate)
	fault(r.BiasRate != 0, "the bias moves by Rate, not by BiasRate")
	fault(r.Bias != nil && len(r.Bias) != s.Experts, "bias of %d experts for %d", len(r.Bias), s.Experts)
	fault(firstInfinite(r.Bias) >= 0, "bias is not finite at expert %d", firstInfinite(r.Bias))
	if len(p.faults)+len(checkShape(s)) == 0 {
		p.bias = &bias{make([]float32, s.Experts)}
		copy(p.bias.value, r.Bias)
		p.balancing = &quantiles{bias: p.bias, rate: float64(r.Rate), logits: r.OfLogits}
		p.chooser = best{p.bias, r.OfLogits}
	}
	top := r.TopK
	top.Bias, top.BiasRate = nil, 0
	return top.build(s, p)
}

// quantiles is the rule by which QuantileBalanced's bias moves. The tally is the sum of each
// expert's prices, in units of 2⁻³², and the number of token groups.
type quantiles struct {
	bias   *bias
	rate   float64
	logits bool // in place of scores
	best   []int32
	row    []float32
	alpha  []float32 // of each token
	column []float32 // of one expert
}

// A price has priceUnits for 1, and is at most highestPrice, so that the sum of thousands is an
// int64.
const (
	priceUnits   = 1 << 32
	highestPrice = 1 << 16
)

func (q *quantiles) size(experts int) int { return experts + 1 }

func (q *quantiles) add(tally []int64, c *choices) {
	experts := c.logits.cols
	if c.k == experts {
		return
	}
	for group := range c.ends {
		begin, end := c.group(group)
		if begin == end {
			continue
		}
		q.thresholds(c, begin, end)
		for e := range experts {
			price := min(max(q.price(c, begin, end, e), -highestPrice), highestPrice)
			tally[e] += int64(math.RoundToEven(price * priceUnits))
		}
		tally[experts]++
	}
}

// thresholds fills alpha.
func (q *quantiles) thresholds(c *choices, begin, end int) {
	q.best, q.row, q.alpha = mat.Reuse(q.best, c.k+1), mat.Reuse(q.row, c.logits.cols), mat.Reuse(q.alpha, end-begin)
	for t := begin; t < end; t++ {
		topK(q.best, q.bias.add(q.row, q.scores(c, t)))
		q.alpha[t-begin] = q.row[q.best[c.k]]
	}
}

// scores returns what the bias of token t's choice is added to.
func (q *quantiles) scores(c *choices, t int) []float32 {
	if q.logits {
		return c.logits.row(t)
	}
	return c.scores.row(t)
}

// price returns the price of expert e in one token group.
func (q *quantiles) price(c *choices, begin, end, e int) float64 {
	n := end - begin
	q.column = mat.Reuse(q.column, n)
	for i, alpha := range q.alpha {
		q.column[i] = q.scores(c, begin+i)[e] - alpha
	}
	slices.Sort(q.column)
	takes := (n*c.k + c.logits.cols - 1) / c.logits.cols
	if q.logits {
		takes = n*c.k/c.logits.cols + 1
	}
	return float64(q.column[n-takes])
}

func (q *quantiles) move(bias []float32, sum []int64) {
	groups := sum[len(bias)]
	if groups == 0 {
		return
	}
	rate := q.rate
	if rate == 0 {
		rate = 1
	}
	mean := 0.0
	next := make([]float64, len(bias))
	for e, b := range bias {
		target := -float64(sum[e]) / priceUnits / float64(groups)
		next[e] = float64(b) + float64(rate*(target-float64(b)))
		mean += next[e]
	}
	mean /= float64(len(bias))
	for e := range bias {
		bias[e] = float32(next[e] - mean)
	}
}
