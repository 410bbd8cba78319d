package goldens

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/router"
)

// megatronLosses lists the cases of Megatron's losses.
func megatronLosses() map[string]trainerKind {
	const inputs = "seq_length batch experts k logits"
	kinds := map[string]trainerKind{
		"megatron_losses_together": {
			inputs + " padding", "score_function seq_aux_loss global_aux_loss z_loss times_valid_tokens",
			"seq_aux_loss_unscaled global_aux_loss_unscaled z_loss_unscaled grad_logits", (*trainerCase).lossesTogether,
		},
	}
	for name, loss := range map[string]func(coefficient float64) router.Loss{
		"aux": megatronAux, "seq_aux": megatronSeq, "z": router.ZLoss,
	} {
		options := "coefficient score_function"
		if name == "z" {
			options = "coefficient"
		}
		check := func(c *trainerCase) error { return c.megatronLoss(loss) }
		base, outputs := "megatron_"+name+"_loss", "loss_unscaled grad_logits"
		kinds[base] = trainerKind{inputs, options, outputs, check}
		kinds[base+"_padding"] = trainerKind{inputs + " padding", options, outputs, check}
		if name != "seq_aux" {
			continue
		}
		outputs += " routed"
		kinds[base+"_bias"] = trainerKind{inputs + " bias", options, outputs, check}
		kinds[base+"_groups"] = trainerKind{inputs, options + " groups group_topk", outputs, check}
		kinds[base+"_capacity"] = trainerKind{inputs, options + " capacity", outputs, check}
	}
	for _, name := range []string{"megatron_global_aux_loss", "megatron_global_aux_loss_padding"} {
		kinds[name] = trainerKind{"seq_length batch experts k", "coefficient score_function", "steps", (*trainerCase).globalLoss}
	}
	return kinds
}

func megatronAux(coefficient float64) router.Loss {
	return router.Balance(coefficient, router.CountPlain)
}

func megatronSeq(coefficient float64) router.Loss {
	return router.SequenceBalance(coefficient, 0, router.CountPlain|router.MeanLength)
}

// megatronRouter returns the router of the case's options with some losses.
func (c *trainerCase) megatronRouter(losses ...router.Loss) (router.Router, error) {
	o := c.options
	r := router.TopK{K: c.in.K, Scale: o.Scale, CapacityFactor: o.CapacityFactor, Drop: router.ByProbability, Losses: losses}
	switch o.Score {
	case "", "softmax":
		if r.K == 1 || c.in.Bias != nil {
			r.Score = router.SoftmaxBefore
		}
	case "sigmoid":
		r.Score = router.Sigmoid
	case "sqrtsoftplus":
		r.Score = router.SqrtSoftplus
	default:
		return nil, cannot("score function %q", o.Score)
	}
	if c.in.Bias != nil {
		r.Bias = c.in.Bias
	}
	if o.Capacity > 0 && o.CapacityFactor == 0 {
		r.CapacityFactor, r.Capacity.Min = leastFactor, o.Capacity
	}
	if o.Groups > 0 && o.GroupTopK > r.K {
		return nil, cannot("groups by sums of no scores: %d groups for %d experts a token", o.GroupTopK, r.K)
	}
	if o.Groups > 0 {
		return router.GroupLimited{TopK: r, Groups: o.Groups, Keep: o.GroupTopK}, nil
	}
	return r, nil
}

// leastFactor is a capacity factor that leaves the capacity to [router.Capacity].Min.
const leastFactor = 1e-9

// megatronLoss checks a case of one loss.
func (c *trainerCase) megatronLoss(loss func(coefficient float64) router.Loss) error {
	unscaled, err := c.oneLoss(loss(1))
	if err != nil {
		return err
	}
	c.loss("loss", unscaled, c.out.Unscaled)
	rows, b := c.sequences(c.in.Padding)
	config, err := c.megatronRouter(loss(c.options.Coefficient))
	if err != nil {
		return err
	}
	p, d, err := c.decide(config, c.in.Logits, rows, b)
	if err != nil {
		return err
	}
	if c.out.Routed != nil {
		if err := c.routes(p.routed(d), c.out.Routed); err != nil {
			return err
		}
	}
	term := d.GroupLoss[0] / float64(max(c.in.Tokens, 1))
	got, err := p.back(d, nil, 1)
	c.gradient("loss", got, c.out.Grad, term)
	return err
}

// oneLoss returns the value of a loss for the case's logits.
func (c *trainerCase) oneLoss(loss router.Loss) (float64, error) {
	config, err := c.megatronRouter(loss)
	if err != nil {
		return 0, err
	}
	rows, b := c.sequences(c.in.Padding)
	_, d, err := c.decide(config, c.in.Logits, rows, b)
	if err != nil {
		return 0, err
	}
	return d.GroupLoss[0], nil
}

// lossesTogether checks three losses and the gradient of their sum.
func (c *trainerCase) lossesTogether() error {
	o := c.options
	losses := []router.Loss{megatronSeq(o.Seq), router.GlobalBalance(o.Global), router.ZLoss(o.Z)}
	for i, want := range []float64{c.out.Seq, c.out.Global, c.out.Z} {
		one := []router.Loss{megatronSeq(1), router.GlobalBalance(1), router.ZLoss(1)}[i]
		got, err := c.oneLoss(one)
		if err != nil {
			return err
		}
		c.loss(one.Name()+" loss", got, want)
	}
	config, err := c.megatronRouter(losses...)
	if err != nil {
		return err
	}
	rows, b := c.sequences(c.in.Padding)
	p, d, err := c.decide(config, c.in.Logits, rows, b)
	if err != nil {
		return err
	}
	scale := 1
	if o.PerToken {
		scale = valid(c.in.Padding)
	}
	got, err := p.back(d, nil, float32(scale))
	c.gradient("losses", got, c.out.Grad, 0)
	return err
}

// valid counts the rows that are not padding.
func valid(padding []int) int {
	n := 0
	for _, p := range padding {
		if p == 0 {
			n++
		}
	}
	return n
}

// globalMicro is a micro-batch of a case of the loss over the counts of a step.
type globalMicro struct {
	Logits   []float32 `json:"logits"`
	Padding  []int     `json:"padding"`
	Unscaled float64   `json:"loss_unscaled"`
	Grad     []float64 `json:"grad_logits"`
	Counts   []int     `json:"tokens_per_expert_so_far"`
}

// globalLoss checks a loss over the counts of the micro-batches of a step so far. Their mean is
// taken over the micro-batches, so each stands for as many tokens as the present one has.
func (c *trainerCase) globalLoss() error {
	var steps [][]globalMicro
	if err := strictly(c.out.Steps, &steps); err != nil {
		return err
	}
	for _, step := range steps {
		counts := make([]int, c.in.Experts)
		for i, m := range step {
			if err := c.globalMicro(m, i+1, counts); err != nil {
				return fmt.Errorf("micro-batch %d: %w", i, err)
			}
		}
	}
	return nil
}

// globalMicro checks the n-th micro-batch of a step, and adds its counts.
func (c *trainerCase) globalMicro(m globalMicro, n int, counts []int) error {
	cells := c.in.Tokens * c.in.Experts
	if len(m.Logits) != cells || len(m.Grad) != cells || (c.name == "megatron_global_aux_loss") != (m.Padding == nil) || m.Padding != nil && len(m.Padding) != c.in.Tokens {
		return fmt.Errorf("%d logits, %d gradients, padding of %d for %d tokens", len(m.Logits), len(m.Grad), len(m.Padding), c.in.Tokens)
	}
	config, err := c.megatronRouter(router.GlobalBalance(1))
	if err != nil {
		return err
	}
	rows, b := c.sequences(m.Padding)
	p, d, err := c.decide(config, m.Logits, rows, b)
	if err != nil {
		return err
	}
	for e, more := range d.Counts {
		counts[e] += more
	}
	if err := c.counts("counts so far", counts, m.Counts); err != nil {
		return err
	}
	tokens := c.in.Tokens
	if m.Padding != nil {
		tokens = valid(m.Padding)
	}
	p.gate.(router.GlobalCounter).SetCounts(d, counts, n*tokens)
	c.loss("loss", d.GroupLoss[0], m.Unscaled)
	term := c.options.Coefficient * d.GroupLoss[0] / float64(max(tokens, 1))
	got, err := p.back(d, nil, float32(c.options.Coefficient))
	c.gradient("loss", got, m.Grad, term)
	return err
}
