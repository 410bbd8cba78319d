package goldens

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// tutelKinds lists the cases of Tutel.
func tutelKinds() map[string]trainerKind {
	return map[string]trainerKind{
		"tutel_topk": {
			"tokens experts k logits upstream_by_choice", "capacity_factor batch_prioritized_routing normalize_gate alignment",
			"expert_by_choice slot_by_choice weight_by_choice capacity dispatch_count kept gshard_loss grad_logits_from_loss grad_logits_from_weights",
			(*trainerCase).tutelTopK,
		},
		"tutel_load_importance_loss": {
			"tokens experts k logits noise_sample", "gate_noise", "loss grad_logits",
			func(*trainerCase) error { return cannot("Tutel's loss of load and importance") },
		},
	}
}

// tutelRouter returns the router of the case's options, of which capacity is left open.
func (c *trainerCase) tutelRouter() router.TopK {
	r := router.TopK{K: c.in.K, Score: router.SoftmaxBefore, Renormalize: router.RenormalizeNever, Drop: router.ByChoice}
	r.Capacity.Formula = router.TutelCapacity
	if c.options.NormalizeGate && c.in.K > 1 {
		r.Renormalize = router.RenormalizeBeforeDrop
	}
	if c.options.Prioritized {
		r.Drop = router.ByPriority
	}
	return r
}

// tutelTopK checks a case whose routes stand choice by choice.
func (c *trainerCase) tutelTopK() error {
	routes, slots, upstream, err := c.byChoice()
	if err != nil {
		return err
	}
	r := c.tutelRouter()
	r.Losses = []router.Loss{router.SwitchLoss(1)}
	p, d, err := c.decide(r, c.in.Logits, nil, router.Batch{})
	if err != nil {
		return err
	}
	if err := c.routes(p.routed(d), routes); err != nil {
		return err
	}
	if !c.options.Prioritized { // else the library's own counts are wrong
		if err := c.counts("counts", d.Counts, c.out.Dispatch); err != nil {
			return err
		}
	}
	if err := c.tutelGradients(p, d, upstream); err != nil {
		return err
	}
	if err := c.slots(c.tutelRouter(), slots); err != nil {
		return err
	}
	return c.tutelCapacity()
}

// tutelGradients checks the loss and the gradients of a decision without drops.
func (c *trainerCase) tutelGradients(p *probe, d *router.Decision, list [][]float64) error {
	value := d.GroupLoss[0]
	c.loss("loss", value, c.out.GShard)
	upstream, term := p.upstream(d, list)
	got, err := p.back(d, upstream, 0)
	if err != nil {
		return err
	}
	c.gradient("weights", got, c.out.GradWeights, term)
	if d, err = p.route(c.in.Logits, router.Batch{}); err != nil {
		return err
	}
	got, err = p.back(d, nil, 1)
	c.gradient("loss", got, c.out.GradLoss, value/float64(max(c.in.Tokens, 1)))
	return err
}

// byChoice returns what the file has by choice as lists of routes.
func (c *trainerCase) byChoice() (routes [][]float64, slots [][]int, upstream [][]float64, err error) {
	out := &c.out
	for j := range c.in.K {
		if len(out.ExpertByChoice) != c.in.K || len(out.SlotByChoice) != c.in.K || len(out.WeightByChoice) != c.in.K ||
			len(out.ExpertByChoice[j]) != c.in.Tokens || len(out.SlotByChoice[j]) != c.in.Tokens || len(out.WeightByChoice[j]) != c.in.Tokens ||
			len(c.in.ByChoice) != c.in.K*c.in.Tokens {
			return nil, nil, nil, fmt.Errorf("experts, slots, weights and gradients are not of %d choices of %d tokens", c.in.K, c.in.Tokens)
		}
		for t, e := range out.ExpertByChoice[j] {
			if j > 0 && out.WeightByChoice[j][t] > out.WeightByChoice[j-1][t] {
				return nil, nil, nil, fmt.Errorf("choice %d of token %d weighs more than the one before", j, t)
			}
			routes = append(routes, []float64{float64(t), float64(e), out.WeightByChoice[j][t]})
			slots = append(slots, []int{t, e, out.SlotByChoice[j][t]})
			upstream = append(upstream, []float64{float64(t), float64(e), float64(c.in.ByChoice[j*c.in.Tokens+t])})
		}
	}
	return routes, slots, upstream, nil
}

// slots checks the slot of each route: with a capacity of n those below n are kept.
func (c *trainerCase) slots(r router.TopK, want [][]int) error {
	for n := 1; n <= c.in.Tokens; n++ {
		d, err := c.withRoom(r, n)
		if err != nil {
			return err
		}
		got := map[route]bool{}
		for _, e := range entries(&d.Assignment) {
			got[route{int(e[0]), int(e[1])}] = true
		}
		for _, w := range want {
			if len(w) != 3 {
				return fmt.Errorf("slot of %d numbers, want token, expert, slot", len(w))
			}
			if got[route{w[0], w[1]}] != (w[2] < n) {
				return fmt.Errorf("token %d has not slot %d of expert %d", w[0], w[2], w[1])
			}
		}
	}
	return nil
}

// withRoom routes the logits with a given capacity.
func (c *trainerCase) withRoom(r router.TopK, room int) (*router.Decision, error) {
	r.CapacityFactor, r.Capacity = leastFactor, router.Capacity{Formula: router.TutelCapacity, Min: room}
	gate, err := r.New(router.Shape{Dim: 1, Experts: c.in.Experts})
	if err != nil {
		return nil, err
	}
	logits := blas32.General{Rows: c.in.Tokens, Cols: c.in.Experts, Stride: c.in.Experts, Data: c.in.Logits}
	return gate.(router.LogitRouter).RouteLogits(logits, router.Batch{Ends: []int{c.in.Tokens}, Train: true})
}

// tutelCapacity checks the capacity and the number of routes that it keeps. Where the best tokens
// come first and the factor is not above 0, the library's own capacity is wrong, and only the
// number is checked.
func (c *trainerCase) tutelCapacity() error {
	r, factor := c.tutelRouter(), c.options.CapacityFactor
	d, err := c.withRoom(r, c.out.Capacity)
	if err != nil {
		return err
	}
	if len(d.Token) != c.out.Kept {
		return fmt.Errorf("keeps %d routes, want %d", len(d.Token), c.out.Kept)
	}
	if c.options.Prioritized && factor <= 0 {
		return nil
	}
	r.CapacityFactor, r.Capacity.Align, r.Capacity.Capped = math.Abs(factor), c.options.Alignment, factor <= 0
	if factor == 0 {
		r.CapacityFactor = float64(c.in.Experts) // enough for the fullest expert
	}
	p, err := newProbe(r, c.in.Tokens, c.in.Experts, nil)
	if err != nil {
		return err
	}
	if d, err = p.route(c.in.Logits, router.Batch{}); err != nil {
		return err
	}
	if d.GroupCapacity[0] != c.out.Capacity {
		return fmt.Errorf("capacity is %d, want %d", d.GroupCapacity[0], c.out.Capacity)
	}
	return nil
}
