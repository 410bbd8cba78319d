package goldens

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// Some cases of a layer file are of a gate alone: no expert computes anything.
const (
	cosineKind   = "xmoe_cosine"
	modalityKind = "modality_expert_choice"
)

// gateRouter returns the router of a case of a gate alone, and the file's names of its parameters.
func (c layerCase) gateRouter() (r router.Router, inputs map[string]string) {
	if c.Kind == cosineKind {
		topK := router.TopK{K: c.K, Score: router.SoftmaxBefore}
		return router.Cosine{TopK: topK, Columns: c.Proj, Temperature: c.Temperature},
			map[string]string{"projection": "w_proj", "embeddings": "expert_embeddings"}
	}
	groups := []router.ModalityGroup{{Name: "text", Experts: c.TextExperts}, {Name: "image", Experts: c.ImageExperts}}
	return router.Modality{Groups: groups}, map[string]string{}
}

// experts returns how many there are, which some files tell by group.
func (c layerCase) experts() int {
	if c.Kind == modalityKind {
		return c.TextExperts + c.ImageExperts
	}
	return c.Experts
}

// runGate routes the case's tokens and compares routes, weights and gradients.
func (c layerCase) runGate(worst *float64) error {
	config, inputs := c.gateRouter()
	gate, err := config.New(router.Shape{Dim: c.Dim, Experts: c.experts()})
	if err != nil {
		return err
	}
	set := gate.Params()
	for i, t := range set.Tensors() {
		name := cmp.Or(inputs[t.Name], t.Name)
		if want := set.Of(set.Value, i); len(c.Inputs[name].Data) != len(want) {
			return fmt.Errorf("input %q has %d numbers, want %d", name, len(c.Inputs[name].Data), len(want))
		}
		copy(set.Of(set.Value, i), c.Inputs[name].Data)
	}
	x := c.rows("x", 0, c.Tokens)
	d, err := gate.Route(x, router.Batch{Ends: []int{c.Tokens}, Train: true, Modality: c.Modality})
	if err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	upstream, err := c.compareRoutes(d, worst)
	if err != nil || len(c.Outputs) == 0 {
		return err
	}
	dx := blas32.General{Rows: x.Rows, Cols: x.Cols, Stride: x.Cols, Data: make([]float32, len(x.Data))}
	if err := gate.Backward(d, x, router.Gradient{Weights: upstream, LossScale: []float32{1}, DX: dx}); err != nil {
		return err
	}
	got, total := map[string][]float32{"d_x": dx.Data}, set.Grad.Total()
	for i, t := range set.Tensors() {
		got["d_"+cmp.Or(inputs[t.Name], t.Name)] = set.Of(total, i)
	}
	return c.compare(got, worst)
}

// wantedRoute is one entry that the file asks for.
type wantedRoute struct {
	route
	weight   float64
	upstream float32
}

// wanted lists the file's routes, sorted as an assignment is: a list of them, or the best experts
// of each token with their weights and the gradients of these.
func (c layerCase) wanted() ([]wantedRoute, error) {
	var list []wantedRoute
	for _, r := range c.Routed {
		if len(r) != 3 {
			return nil, fmt.Errorf("route of %d numbers, want token, expert, weight", len(r))
		}
		list = append(list, wantedRoute{route: route{int(r[0]), int(r[1])}, weight: r[2]})
	}
	for t, experts := range c.TopK {
		for j, e := range experts {
			i := t*c.K + j
			if i >= len(c.Weights) || i >= len(c.Inputs["upstream"].Data) {
				return nil, fmt.Errorf("token %d has no weight or no upstream gradient", t)
			}
			list = append(list, wantedRoute{route{t, e}, c.Weights[i], c.Inputs["upstream"].Data[i]})
		}
	}
	slices.SortFunc(list, func(a, b wantedRoute) int {
		return cmp.Or(cmp.Compare(a.expert, b.expert), cmp.Compare(a.token, b.token))
	})
	return list, nil
}

// compareRoutes compares who goes where, exactly, and the weights; it returns the gradients of the
// entries.
func (c layerCase) compareRoutes(d *router.Decision, worst *float64) (upstream []float32, err error) {
	wanted, err := c.wanted()
	if err != nil {
		return nil, err
	}
	if len(wanted) != len(d.Token) {
		return nil, fmt.Errorf("%d routes, want %d", len(d.Token), len(wanted))
	}
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			w := wanted[i]
			if got := (route{int(d.Token[i]), e}); got != w.route {
				return nil, fmt.Errorf("route %d is token %d to expert %d, want %d to %d", i, got.token, got.expert, w.token, w.expert)
			}
			off := math.Abs(float64(d.Weight[i])-w.weight) / math.Abs(w.weight)
			*worst = max(*worst, off)
			if !(off <= weightTolerance) {
				return nil, fmt.Errorf("weight %d is %v, want %v: error %.1e, tolerance %.0e", i, d.Weight[i], w.weight, off, weightTolerance)
			}
			upstream = append(upstream, w.upstream)
		}
	}
	return upstream, nil
}
