package goldens

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/router"
)

// deepspeedKinds lists the cases of DeepSpeed's own gates.
func deepspeedKinds() map[string]trainerKind {
	return map[string]trainerKind{
		"deepspeed_no_drop": {
			"tokens experts k logits", "drop_tokens", "routed slots capacity aux_loss_unscaled grad_logits_from_aux", (*trainerCase).deepspeedNoDrop,
		},
		"deepspeed_top1_min_capacity": {
			"tokens experts k logits used?", "capacity_factor min_capacity",
			"routed capacity tokens_per_expert aux_loss_unscaled grad_logits_from_aux", (*trainerCase).deepspeedTop1,
		},
	}
}

// deepspeedRouter returns the gate for the case's k.
func (c *trainerCase) deepspeedRouter() router.TopK {
	r := router.TopK{K: c.in.K, Score: router.SoftmaxBefore, Renormalize: router.RenormalizeNever}
	r.Capacity.Formula = router.DeepSpeedCapacity
	if r.K > 1 {
		r.Renormalize = router.RenormalizeAfterDrop
	}
	if r.K == 2 {
		r.Drop = router.ByChoice
	}
	return r
}

// deepspeedNoDrop checks a gate whose capacity is its largest load.
func (c *trainerCase) deepspeedNoDrop() error {
	if c.options.DropTokens {
		return cannot("drop_tokens, of a case that drops none")
	}
	r, loss := c.deepspeedRouter(), router.Balance(1)
	if r.K == 2 {
		loss = router.SwitchLoss(1)
	}
	r.CapacityFactor, r.Capacity.Capped = float64(c.in.Experts), true
	r.Losses = []router.Loss{loss}
	p, d, err := c.decide(r, c.in.Logits, nil, router.Batch{})
	if err != nil {
		return err
	}
	if d.GroupCapacity[0] != c.out.Capacity {
		return fmt.Errorf("capacity is %d, want %d", d.GroupCapacity[0], c.out.Capacity)
	}
	if err := c.routes(p.routed(d), c.out.Routed); err != nil {
		return err
	}
	if err := c.slots(c.deepspeedRouter(), c.out.Slots); err != nil {
		return err
	}
	return c.aux(p, d)
}

// aux checks the loss of a decision and its gradient.
func (c *trainerCase) aux(p *probe, d *router.Decision) error {
	value := d.GroupLoss[0]
	c.loss("loss", value, c.out.Aux)
	got, err := p.back(d, nil, 1)
	c.gradient("loss", got, c.out.GradAux, value/float64(max(c.in.Tokens, 1)))
	return err
}

// deepspeedTop1 checks a gate of one expert a token, of which some tokens may be left out of routes
// and counts, though not of the mean score.
func (c *trainerCase) deepspeedTop1() error {
	if c.in.K != 1 || !(c.options.CapacityFactor > 0) {
		return cannot("k = %d, capacity factor %v", c.in.K, c.options.CapacityFactor)
	}
	r := c.deepspeedRouter()
	r.CapacityFactor, r.Capacity.Min = c.options.CapacityFactor, c.options.MinCapacity
	r.Losses = []router.Loss{router.GlobalBalance(1)}
	all, d, err := c.decide(r, c.in.Logits, nil, router.Batch{})
	if err != nil {
		return err
	}
	if d.GroupCapacity[0] != c.out.Capacity {
		return fmt.Errorf("capacity is %d, want %d", d.GroupCapacity[0], c.out.Capacity)
	}
	counts, err := c.deepspeedUsed(r)
	if err != nil {
		return err
	}
	all.gate.(router.GlobalCounter).SetCounts(d, counts, c.in.Tokens)
	return c.aux(all, d)
}

// deepspeedUsed checks the routes of the tokens that are not left out, and returns their counts.
func (c *trainerCase) deepspeedUsed(r router.TopK) ([]int, error) {
	b := router.Batch{Padding: make([]bool, c.in.Tokens)}
	for t := range c.in.Used {
		b.Padding[t] = c.in.Used[t] == 0
	}
	r.CapacityFactor, r.Losses = leastFactor, nil
	r.Capacity.Min = c.out.Capacity // that of all tokens
	p, d, err := c.decide(r, c.in.Logits, nil, b)
	if err != nil {
		return nil, err
	}
	if d.Dropped > 0 {
		return nil, cannot("tokens that are dropped at random: %d", d.Dropped)
	}
	if err := c.counts("counts", d.Counts, c.out.Counts); err != nil {
		return nil, err
	}
	return slices.Clone(d.Counts), c.routes(p.routed(d), c.out.Routed)
}
