package goldens

import "github.com/switchyard-moe/switchyard/router"

// torchtitanKinds lists the cases of torchtitan, and of the routers of DeepSpeed's AutoEP, which
// are like them.
func torchtitanKinds() map[string]trainerKind {
	const (
		inputs  = "tokens experts k logits upstream bias?"
		outputs = "routed tokens_per_expert grad_logits_from_weights"
		layer   = "tokens experts k x dy gate w1 w2 w3"
		choice  = "score_function route_norm route_scale"
	)
	bias := func(c *trainerCase) error { return c.biasSteps(true) }
	return map[string]trainerKind{
		"torchtitan_router":                 {inputs, choice + " groups? group_topk?", outputs, (*trainerCase).torchtitanRouter},
		"deepspeed_autoep_router":           {inputs, choice + " groups? group_topk? group_score?", outputs, (*trainerCase).torchtitanRouter},
		"torchtitan_expert_bias":            {"layers experts", "rate", "steps", bias},
		"torchtitan_layer_scores_on_input":  {layer, choice + " score_before_experts", "y d_x d_gate d_w1", (*trainerCase).torchtitanLayer},
		"torchtitan_layer_scores_on_output": {layer, choice + " score_before_experts", "y d_x d_gate d_w1", (*trainerCase).torchtitanLayer},
	}
}

func (c *trainerCase) torchtitanRouter() error {
	topK, err := c.torchtitanTopK()
	if err != nil {
		return err
	}
	o := c.options
	if o.Groups == 0 {
		return c.weights(topK)
	}
	r := router.GroupLimited{TopK: topK, Groups: o.Groups, Keep: o.GroupTopK}
	switch o.GroupScore {
	case "", "top2_sum":
		r.GroupScore = router.GroupTopTwo
	case "max":
		r.GroupScore = router.GroupMax
	default:
		return cannot("group score %q", o.GroupScore)
	}
	return c.weights(r)
}

// torchtitanTopK returns the router without groups.
func (c *trainerCase) torchtitanTopK() (router.TopK, error) {
	o := c.options
	r := router.TopK{K: c.in.K, Bias: c.in.Bias, Scale: o.RouteScale, Renormalize: router.RenormalizeNever}
	switch o.Score {
	case "sigmoid":
		r.Score = router.Sigmoid
	case "softmax":
		r.Score = router.SoftmaxBefore
	default:
		return r, cannot("score function %q", o.Score)
	}
	if o.RouteNorm {
		r.Renormalize = router.RenormalizeBeforeDrop
	}
	if o.RouteScale == 0 {
		return r, cannot("a scale of 0")
	}
	return r, nil
}
