package router

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// Forced sends each token to the experts that the caller names, with equal weights that sum to 1.
// It has no parameters, no losses and no gradient. It is for tests and benchmarks: all tokens to
// one expert, an expert with none.
type Forced struct {
	// Route returns the experts of a token, by its row in the rank's batch; none is legal. The
	// result may be in any order, and is read before the next call. A rule that depends on the row has
	// a token's experts depend on how the global batch is spread over ranks.
	Route func(token int) []ExpertID
}

var _ Router = Forced{}

// String names the router: what Route does cannot be printed, nor compared between ranks.
func (r Forced) String() string { return "by the caller" }

// New is described at [Router].
func (r Forced) New(s Shape) (Gate, error) {
	faults := checkShape(s)
	if r.Route == nil {
		faults = append(faults, errors.New("router: Forced without Route"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &forced{route: r.Route, shape: s}, nil
}

type forced struct {
	route func(int) []ExpertID
	shape Shape
}

// Params returns nil.
func (g *forced) Params() *param.Set { return nil }

// Route is described at [Gate]. An expert that does not exist, or is named twice, is an error that
// names the token.
func (g *forced) Route(x blas32.General, b Batch) (*Decision, error) {
	checkBatch(x, b.Ends, g.shape.Dim)
	checkPadding(x, b)
	counts := make([]int, g.shape.Experts)
	tokens, weights := make([][]int32, g.shape.Experts), make([][]float32, g.shape.Experts)
	for t := range x.Rows {
		if b.padded(t) {
			continue
		}
		chosen := g.route(t)
		for _, e := range chosen {
			if e < 0 || int(e) >= g.shape.Experts {
				return nil, fmt.Errorf("router: token %d is forced to expert %d of %d", t, e, g.shape.Experts)
			}
			if n := counts[e]; n != 0 && tokens[e][n-1] == int32(t) {
				return nil, fmt.Errorf("router: token %d is forced to expert %d twice", t, e)
			}
			counts[e]++
			tokens[e], weights[e] = append(tokens[e], int32(t)), append(weights[e], 1/float32(len(chosen)))
		}
	}
	d := &Decision{GroupLoss: make([]float64, len(b.Ends)), Losses: map[string]float64{}, Counts: counts}
	d.Tokens, d.Experts = x.Rows, g.shape.Experts
	d.Token, d.Weight = slices.Concat(tokens...), slices.Concat(weights...)
	d.Ends = slices.Clone(counts)
	for e := 1; e < len(d.Ends); e++ {
		d.Ends[e] += d.Ends[e-1]
	}
	return d, nil
}

// Backward adds nothing: routes that are given have no gradient.
func (g *forced) Backward(d *Decision, x blas32.General, grad Gradient) error {
	checkGradient(d, x, grad)
	return nil
}
