package goldens

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/router"
)

// megatronRouters lists the cases of Megatron's biases and scores.
func megatronRouters() map[string]trainerKind {
	bias := func(c *trainerCase) error { return c.biasSteps(false) }
	return map[string]trainerKind{
		"megatron_expert_bias": {"layers experts", "rate", "steps", bias},
		"megatron_expert_bias_router": {
			"tokens experts k", "score_function rate scale? capacity_factor? capacity? pad_to_capacity?", "steps", (*trainerCase).biasRouter,
		},
		"megatron_topk_sqrtsoftplus": {
			"tokens experts k logits upstream", "score_function scale groups? group_topk?", "routed grad_logits_from_weights", (*trainerCase).megatronTopK,
		},
		"megatron_quantile_balancing": {"tokens experts k", "score_function ema", "steps", (*trainerCase).quantileSteps},
	}
}

// biasSteps checks steps of the biases of some layers by given counts.
func (c *trainerCase) biasSteps(centred bool) error {
	var steps []struct {
		Counts []int64   `json:"tokens_per_expert"`
		Bias   []float64 `json:"bias"`
	}
	if err := strictly(c.out.Steps, &steps); err != nil {
		return err
	}
	n := c.in.Experts
	config := router.TopK{K: 1, Score: router.Sigmoid, BiasRate: c.options.Rate, BiasCentred: centred}
	for layer := range c.in.Layers {
		p, err := newProbe(config, 1, n, nil)
		if err != nil {
			return err
		}
		g := p.gate.(router.Balancer)
		for i, s := range steps {
			if len(s.Counts) != c.in.Layers*n || len(s.Bias) != c.in.Layers*n {
				return fmt.Errorf("step %d has %d counts and %d biases, want %d", i, len(s.Counts), len(s.Bias), c.in.Layers*n)
			}
			g.Rebalance(s.Counts[layer*n : (layer+1)*n])
			c.into.numbers("bias", doubles(g.Bias()), s.Bias[layer*n:(layer+1)*n], float64(c.options.Rate), trainerTolerance)
		}
	}
	return nil
}

// biasMicro is a micro-batch of a case with a bias that moves.
type biasMicro struct {
	Logits   []float32   `json:"logits"`
	Routed   [][]float64 `json:"routed"`
	Quantile []float64   `json:"quantile"`
}

type biasStep struct {
	Micro  []biasMicro `json:"micro_batches"`
	Counts []int64     `json:"tokens_per_expert"`
	Bias   []float64   `json:"bias"`
}

// biasStepsOf reads and checks the steps of a case.
func (c *trainerCase) biasStepsOf() (steps []biasStep, err error) {
	if err := strictly(c.out.Steps, &steps); err != nil {
		return nil, err
	}
	for i, s := range steps {
		if len(s.Bias) != c.in.Experts {
			return nil, fmt.Errorf("step %d has a bias of %d experts, want %d", i, len(s.Bias), c.in.Experts)
		}
		for _, m := range s.Micro {
			if len(m.Logits) != c.in.Tokens*c.in.Experts || slices.ContainsFunc(m.Routed, func(r []float64) bool { return len(r) != 3 }) {
				return nil, fmt.Errorf("step %d has a micro-batch of %d logits, want %d, or routes that are not token, expert, weight", i, len(m.Logits), c.in.Tokens*c.in.Experts)
			}
		}
	}
	return steps, nil
}

// biasRouter checks choices by a bias that follows the counts after drops, which the caller of
// Rebalance may take in place of the tally.
func (c *trainerCase) biasRouter() error {
	steps, err := c.biasStepsOf()
	if err != nil {
		return err
	}
	c.in.Bias = make([]float32, c.in.Experts)
	config, err := c.megatronRouter()
	if err != nil {
		return err
	}
	topK, ok := config.(router.TopK)
	if !ok || c.options.Rate <= 0 || c.options.CapacityFactor == 0 && c.options.Capacity != 0 || c.options.PadToCapacity && c.options.CapacityFactor == 0 {
		return cannot("rate %v, capacity factor %v, capacity %d", c.options.Rate, c.options.CapacityFactor, c.options.Capacity)
	}
	topK.BiasRate = c.options.Rate
	p, err := newProbe(topK, c.in.Tokens, c.in.Experts, nil)
	if err != nil {
		return err
	}
	for i, s := range steps {
		if err := c.biasStep(p, s); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// biasStep checks one step.
func (c *trainerCase) biasStep(p *probe, s biasStep) error {
	counts := make([]int64, c.in.Experts)
	for _, m := range s.Micro {
		d, err := p.route(m.Logits, router.Batch{})
		if err != nil {
			return err
		}
		if got := d.GroupCapacity[0]; c.options.Capacity != 0 && got != c.options.Capacity {
			return fmt.Errorf("capacity is %d, want %d", got, c.options.Capacity)
		}
		if err := c.routes(p.routed(d), m.Routed); err != nil {
			return err
		}
		for e, n := range kept(d) {
			if c.options.PadToCapacity {
				n = c.options.Capacity
			}
			counts[e] += int64(n)
		}
	}
	if !slices.Equal(counts, s.Counts) {
		return fmt.Errorf("counts after drops are %v, want %v", counts, s.Counts)
	}
	g := p.gate.(router.Balancer)
	g.Rebalance(counts)
	c.into.numbers("bias", doubles(g.Bias()), s.Bias, float64(c.options.Rate), trainerTolerance)
	return nil
}

// megatronTopK checks routes, weights and the gradient from the weights.
func (c *trainerCase) megatronTopK() error {
	if c.options.Scale == 0 {
		return cannot("a scale of 0")
	}
	config, err := c.megatronRouter()
	if err != nil {
		return err
	}
	return c.weights(config)
}

// weights checks routes, weights and their gradient, and counts where there are any.
func (c *trainerCase) weights(config router.Router) error {
	p, d, err := c.decide(config, c.in.Logits, nil, router.Batch{})
	if err != nil {
		return err
	}
	if err := c.routes(p.routed(d), c.out.Routed); err != nil {
		return err
	}
	if c.out.Counts != nil {
		if err := c.counts("counts", d.Counts, c.out.Counts); err != nil {
			return err
		}
	}
	upstream, term := p.upstream(d, c.in.Upstream)
	got, err := p.back(d, upstream, 0)
	c.gradient("weights", got, c.out.GradWeights, term)
	return err
}

// quantileSteps checks choices by a bias of prices.
func (c *trainerCase) quantileSteps() error {
	steps, err := c.biasStepsOf()
	if err != nil {
		return err
	}
	score, ok := map[string]router.Score{"softmax": router.SoftmaxAfter, "sigmoid": router.Sigmoid, "sqrtsoftplus": router.SqrtSoftplus}[c.options.Score]
	if !ok || !(c.options.EMA >= 0 && c.options.EMA < 1) || c.in.Tokens*c.in.K%c.in.Experts != 0 {
		return cannot("score function %q, moving average %v, %d tokens", c.options.Score, c.options.EMA, c.in.Tokens)
	}
	config := router.QuantileBalanced{TopK: router.TopK{K: c.in.K, Score: score}, Rate: 1 - c.options.EMA, OfLogits: true}
	p, err := newProbe(config, c.in.Tokens, c.in.Experts, nil)
	if err != nil {
		return err
	}
	for i, s := range steps {
		if err := c.quantileStep(p, config, s); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// quantileStep checks one step. The file's bias is taken from the logits.
func (c *trainerCase) quantileStep(p *probe, config router.QuantileBalanced, s biasStep) error {
	for _, m := range s.Micro {
		d, err := p.route(m.Logits, router.Batch{})
		if err != nil {
			return err
		}
		if err := c.routes(p.routed(d), m.Routed); err != nil {
			return err
		}
		if _, err := p.back(d, nil, 0); err != nil {
			return err
		}
		if err := c.quantiles(config, p.gate.(router.Balancer).Bias(), m); err != nil {
			return err
		}
	}
	g := p.gate.(router.Balancer)
	g.Rebalance(g.Tally())
	c.negated("bias", g.Bias(), s.Bias)
	return nil
}

// quantiles checks those of one micro-batch, up to their mean: the bias to which it moves alone.
func (c *trainerCase) quantiles(config router.QuantileBalanced, bias []float32, m biasMicro) error {
	if m.Quantile == nil {
		return nil // not every micro-batch has them
	}
	if len(m.Quantile) != c.in.Experts {
		return fmt.Errorf("%d quantiles, want %d", len(m.Quantile), c.in.Experts)
	}
	config.Rate = 1
	p, err := newProbe(config, c.in.Tokens, c.in.Experts, nil)
	if err != nil {
		return err
	}
	g := p.gate.(router.Balancer)
	copy(g.Bias(), bias)
	d, err := p.route(m.Logits, router.Batch{})
	if err != nil {
		return err
	}
	if _, err := p.back(d, nil, 0); err != nil {
		return err
	}
	g.Rebalance(g.Tally())
	mean := 0.0
	for _, q := range m.Quantile {
		mean += q / float64(len(m.Quantile))
	}
	centred := make([]float64, len(m.Quantile))
	for e, q := range m.Quantile {
		centred[e] = q - mean
	}
	c.negated("quantile less the mean", g.Bias(), centred)
	return nil
}

// negated compares numbers of the other sign, relative to the largest.
func (c *trainerCase) negated(what string, got []float32, want []float64) {
	list := doubles(got)
	for e := range list {
		list[e] = -list[e]
	}
	c.into.numbers(what, list, want, largest(want), trainerTolerance)
}
