package goldens

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// probe is a gate that is given logits. Tokens are the unit vectors and the gate's matrix holds the
// logits, so the matrix's gradient is theirs.
type probe struct {
	gate            router.Gate
	tokens, experts int
	rows            []int // the file's row of each token
}

// newProbe returns a gate of config. rows are the file's rows in the order of tokens; nil leaves
// them.
func newProbe(config router.Router, tokens, experts int, rows []int) (*probe, error) {
	gate, err := config.New(router.Shape{Dim: max(tokens, 1), Experts: experts})
	if err != nil {
		return nil, err
	}
	for t := len(rows); t < tokens; t++ {
		rows = append(rows, t)
	}
	return &probe{gate, tokens, experts, rows}, nil
}

// decide returns what a router of config decides of logits, and its gate. rows is as in newProbe.
func (c *trainerCase) decide(config router.Router, logits []float32, rows []int, b router.Batch) (*probe, *router.Decision, error) {
	p, err := newProbe(config, c.in.Tokens, c.in.Experts, rows)
	if err != nil {
		return nil, nil, err
	}
	d, err := p.route(logits, b)
	return p, d, err
}

// unit returns the tokens.
func (p *probe) unit() blas32.General {
	n := max(p.tokens, 1)
	x := blas32.General{Rows: p.tokens, Cols: n, Stride: n, Data: make([]float32, p.tokens*n)}
	for t := range p.tokens {
		x.Data[t*n+t] = 1
	}
	return x
}

// route routes tokens with the file's logits as one token group.
func (p *probe) route(logits []float32, b router.Batch) (*router.Decision, error) {
	if len(logits) != p.tokens*p.experts {
		return nil, fmt.Errorf("%d logits, want %d", len(logits), p.tokens*p.experts)
	}
	value := p.gate.Params().Value
	for t, row := range p.rows {
		copy(value[t*p.experts:(t+1)*p.experts], logits[row*p.experts:])
	}
	b.Ends, b.Train = []int{p.tokens}, true
	d, err := p.gate.Route(p.unit(), b)
	if err != nil {
		return nil, err
	}
	return d, d.Validate()
}

// back returns the gradient of the logits, in the file's order, for that of the weights, where nil
// is none, and that of the losses. d must not be read afterwards.
func (p *probe) back(d *router.Decision, weights []float32, losses float32) ([]float32, error) {
	if weights == nil {
		weights = make([]float32, len(d.Weight))
	}
	x := p.unit()
	dx := x
	dx.Data = make([]float32, len(x.Data))
	set := p.gate.Params()
	set.Grad.Reset()
	if err := p.gate.Backward(d, x, router.Gradient{Weights: weights, LossScale: []float32{losses}, DX: dx}); err != nil {
		return nil, err
	}
	total, got := set.Grad.Total(), make([]float32, p.tokens*p.experts)
	for t, row := range p.rows {
		copy(got[row*p.experts:(row+1)*p.experts], total[t*p.experts:])
	}
	return got, nil
}

// routed lists the entries of a decision, in the file's order: sorted by token and then by expert.
func (p *probe) routed(d *router.Decision) [][]float64 {
	list := entries(&d.Assignment)
	for _, r := range list {
		r[0] = float64(p.rows[int(r[0])])
	}
	slices.SortStableFunc(list, func(a, b []float64) int { return int(a[0]) - int(b[0]) })
	return list
}

// upstream returns the file's gradients of weights in the order of the entries, and the largest
// product of one and its weight.
func (p *probe) upstream(d *router.Decision, list [][]float64) (weights []float32, term float64) {
	value := map[route]float32{}
	for _, u := range list {
		value[route{int(u[0]), int(u[1])}] = float32(u[2])
	}
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			weights = append(weights, value[route{p.rows[d.Token[i]], e}])
			term = max(term, float64(max(weights[i], -weights[i])*d.Weight[i]))
		}
	}
	return weights, term
}

// kept counts the entries of each expert.
func kept(d *router.Decision) []int {
	counts := make([]int, d.Experts)
	for e := range counts {
		begin, end := d.Of(router.ExpertID(e))
		counts[e] = end - begin
	}
	return counts
}
