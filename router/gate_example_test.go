package router_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

// roundRobin is a router from outside: the tokens of a token group go to the experts in turn, each
// with a weight that its expert learns.
type roundRobin struct{}

// New is described at [router.Router].
func (roundRobin) New(s router.Shape) (router.Gate, error) {
	if s.Experts < 1 {
		return nil, errors.New("roundRobin: no experts")
	}
	g := &roundRobinGate{params: param.NewSet(param.Tensor{Name: "weight", Shape: []int{s.Experts}})}
	for e := range g.params.Value {
		g.params.Value[e] = 1
	}
	return g, nil
}

type roundRobinGate struct{ params *param.Set }

// Params returns one tensor, a weight for each expert.
func (g *roundRobinGate) Params() *param.Set { return g.params }

// Route lists entries by expert and then by token, as every assignment does.
func (g *roundRobinGate) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	experts := len(g.params.Value)
	for t := range x.Rows {
		for _, v := range x.Data[t*x.Stride:][:x.Cols] {
			if v-v != 0 {
				return nil, fmt.Errorf("roundRobin: token %d holds %v", t, v)
			}
		}
	}
	d := &router.Decision{
		GroupLoss: make([]float64, len(b.Ends)), Counts: make([]int, experts), Saved: b.Ends,
	}
	for range b.Ends {
		d.GroupCapacity = append(d.GroupCapacity, math.MaxInt)
	}
	d.Tokens, d.Experts = x.Rows, experts
	for e, weight := range g.params.Value {
		begin := 0
		for _, end := range b.Ends {
			for t := begin + e; t < end; t += experts {
				if b.Padding == nil || !b.Padding[t] {
					d.Token, d.Weight = append(d.Token, int32(t)), append(d.Weight, weight)
					d.Counts[e]++
				}
			}
			begin = end
		}
		d.Ends = append(d.Ends, len(d.Token))
	}
	return d, nil
}

// Backward writes a leaf for each token group, those without tokens too. The tokens themselves have
// no gradient here, so that there is nothing to do if the parameters are frozen.
func (g *roundRobinGate) Backward(d *router.Decision, _ blas32.General, grad router.Gradient) error {
	if g.params.Frozen {
		return nil
	}
	begin := 0
	for group, end := range d.Saved.([]int) {
		leaf := g.params.Grad.Leaf(grad.FirstLeaf + group)
		for e := range leaf {
			from, to := d.Of(router.ExpertID(e))
			for i := from; i < to; i++ {
				if t := int(d.Token[i]); begin <= t && t < end {
					leaf[e] += grad.Weights[i]
				}
			}
		}
		begin = end
	}
	return nil
}

func TestRoundRobinConforms(t *testing.T) {
	routertest.Run(t, func() router.Router { return roundRobin{} }, routertest.TiesElsewhere)
}

// A gate that is not of this package, with parameters of its own. routertest.Run checks such gates,
// and examples/gate has one that reads its tokens.
func ExampleGate() {
	gate, err := roundRobin{}.New(router.Shape{Dim: 1, Experts: 2})
	if err != nil {
		panic(err)
	}
	x := blas32.General{Rows: 3, Cols: 1, Stride: 1, Data: []float32{7, 8, 9}}
	d, err := gate.Route(x, router.Batch{Ends: []int{2, 3}, Train: true})
	if err != nil {
		panic(err)
	}
	show(d)
	err = gate.Backward(d, x, router.Gradient{Weights: []float32{1, 2, 3}})
	fmt.Println(gate.Params().Grad.Total(), err)
	// Output:
	// [0 2] [1] dropped: 0
	// [3 3] <nil>
}
