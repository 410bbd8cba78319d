package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// Threshold is a router of one's own: a token goes to every expert whose score for it reaches the
// threshold, be it none or all, and the score is the weight. The score grows from 0 to 1 with the
// product of the token and the expert's column.
type Threshold struct {
	// At is the score from which on an expert takes a token, between 0 and 1.
	At float32
}

// New is described at router.Router. It reports all faults at once.
func (r Threshold) New(s router.Shape) (router.Gate, error) {
	var faults []error
	if !(r.At > 0 && r.At < 1) {
		faults = append(faults, fmt.Errorf("gate: threshold is %v, want it between 0 and 1", r.At))
	}
	if s.Dim < 1 || s.Experts < 1 {
		faults = append(faults, fmt.Errorf("gate: %d columns and %d experts, want at least 1", s.Dim, s.Experts))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	g := &threshold{at: r.At, shape: s, params: param.NewSet(param.Tensor{Name: "columns", Shape: []int{s.Experts, s.Dim}})}
	// All ranks draw the same, because the seed is the layer's.
	random, limit := rand.New(rand.NewPCG(s.Seed, 1)), 1/math.Sqrt(float64(s.Dim))
	for i := range g.params.Value {
		g.params.Value[i] = float32((2*random.Float64() - 1) * limit)
	}
	return g, nil
}

// threshold is the gate of one layer.
type threshold struct {
	at     float32
	shape  router.Shape
	params *param.Set
}

// saved is what Backward needs again, beside the decision.
type saved struct{ ends []int }

// Params returns the parameters, which the layer sums over ranks, updates and stores.
func (g *threshold) Params() *param.Set { return g.params }

// column returns what expert e multiplies tokens by. It looks into Value at each call: the layer
// may have loaded others.
func (g *threshold) column(e int) []float32 {
	return g.params.Value[e*g.shape.Dim : (e+1)*g.shape.Dim]
}

// Route is described at router.Gate. Entries of an assignment are sorted by expert and then by
// token, so the loops are, too.
func (g *threshold) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	d := &router.Decision{
		GroupLoss: make([]float64, len(b.Ends)), GroupCapacity: make([]int, len(b.Ends)), Losses: map[string]float64{},
		Counts: make([]int, g.shape.Experts), Saved: saved{append([]int(nil), b.Ends...)},
	}
	for i := range d.GroupCapacity {
		d.GroupCapacity[i] = math.MaxInt // nothing is dropped
	}
	d.Tokens, d.Experts, d.Ends = x.Rows, g.shape.Experts, make([]int, g.shape.Experts)
	for e := range g.shape.Experts {
		for t := range x.Rows {
			if b.Padding != nil && b.Padding[t] {
				continue
			}
			z := product(row(x, t), g.column(e))
			if z-z != 0 {
				return nil, notFinite(b.Ends, t, e, z)
			}
			if s := squash(z); s >= g.at {
				d.Token, d.Weight = append(d.Token, int32(t)), append(d.Weight, s)
				d.Counts[e]++
			}
		}
		d.Ends[e] = len(d.Token)
	}
	return d, nil
}

// Backward is described at router.Gate.
func (g *threshold) Backward(d *router.Decision, x blas32.General, grad router.Gradient) error {
	begin := 0
	for group, end := range d.Saved.(saved).ends {
		// A leaf for each group, in order: so the sum over ranks has the same bits on any number of them.
		leaf := g.leaf(grad.FirstLeaf + group)
		for e := range d.Experts {
			from, to := d.Of(router.ExpertID(e))
			for i := from; i < to; i++ {
				if t := int(d.Token[i]); t >= begin && t < end {
					dz := grad.Weights[i] * slope(d.Weight[i])
					if leaf != nil {
						add(leaf[e*g.shape.Dim:], dz, row(x, t))
					}
					add(row(grad.DX, t), dz, g.column(e))
				}
			}
		}
		begin = end
	}
	return nil
}

// leaf is the gradient's vector for a token group, nil if parameters stay as they are.
func (g *threshold) leaf(number int) []float32 {
	if g.params.Frozen {
		return nil
	}
	return g.params.Grad.Leaf(number)
}

// squash is (1 + z/(1+|z|))/2: a sigmoid without an exponential, whose last bits would differ
// between processors.
func squash(z float32) float32 {
	return (1 + z/(1+max(z, -z))) / 2
}

// slope is the derivative of squash where its value is s.
func slope(s float32) float32 {
	u := 2*s - 1
	rest := 1 - max(u, -u)
	return rest * rest / 2
}

// product and add round each product before they add it: a fused multiply-add would give other bits
// on some processors.
func product(x, y []float32) float32 {
	sum := float32(0)
	for i, v := range x {
		sum += float32(v * y[i])
	}
	return sum
}

func add(dst []float32, a float32, x []float32) {
	for i, v := range x {
		dst[i] += float32(a * v)
	}
}

// row returns a row of a matrix, whose rows may lie apart.
func row(m blas32.General, i int) []float32 { return m.Data[i*m.Stride : i*m.Stride+m.Cols] }

// notFinite names the token, its group and its row there.
func notFinite(ends []int, t, e int, z float32) error {
	group, begin := 0, 0
	for ends[group] <= t {
		begin = ends[group]
		group++
	}
	return fmt.Errorf("gate: token %d (row %d of group %d): score of expert %d comes from %v", t, t-begin, group, e, z)
}
