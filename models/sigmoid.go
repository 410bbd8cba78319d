package models

import (
	"github.com/switchyard-moe/switchyard/router"
)

// sigmoidFamily is what differs among the models whose router is DeepSeek-V3's: independent scores,
// a bias of the choice, perhaps groups.
type sigmoidFamily struct {
	types []string
	// weight and bias are names of tensors; shared begins the names of the shared expert's.
	weight, bias, shared string
	// experts is the layout of the routed experts, if it is not split at mlp.experts.
	experts func(hidden int) Expert
	// hidden names the width of an expert, if it is not moe_intermediate_size.
	hidden string
	// width returns the hidden units of the shared expert, if it is not the width of an expert times
	// their number.
	width func(c *config, hidden int) int
	// dense is how many of the first layers have no experts, unless config.json says.
	dense int
	// always tells that weights are divided by their sum whatever norm_topk_prob says, which never
	// gives its default.
	always, never bool
	// scale is the default of the factor of all weights.
	scale float64
	// fillZero gives experts of groups that lost the score 0.
	fillZero bool
	// loss tells that there is an auxiliary loss.
	loss bool
}

const correction = "mlp.gate.e_score_correction_bias"

// sigmoidFamilies lists the models with a router like DeepSeek-V3's and SwiGLU experts.
func sigmoidFamilies() []family {
	const gate, shared = "mlp.gate.weight", "mlp.shared_experts."
	w123 := func(prefix string) func(int) Expert {
		return func(hidden int) Expert { return mixtralSplit(prefix, hidden) }
	}
	var list []family
	for _, f := range []sigmoidFamily{
		{types: []string{"deepseek_v3", "deepseek_v32", "glm_moe_dsa"}, weight: gate, bias: correction, shared: shared, dense: 3, scale: 2.5},
		{types: []string{"glm4_moe"}, weight: gate, bias: correction, shared: shared, dense: 1, scale: 1},
		{types: []string{"glm4_moe_lite"}, weight: gate, bias: correction, shared: shared, dense: 1, scale: 1.8},
		{types: []string{"dots1"}, weight: gate, bias: correction, shared: shared, scale: 1, never: true},
		{types: []string{"dots3_note", "dots3_note_text"}, weight: gate, bias: correction, shared: shared, dense: 1, scale: 1, width: sharedWidth("shared_experts_intermediate_size")},
		{types: []string{"solar_open"}, weight: gate, bias: correction, shared: shared, scale: 1},
		{types: []string{"axk2"}, weight: gate, bias: correction, shared: shared, dense: 1, scale: 2.5, fillZero: true},
		{types: []string{"bailing_hybrid"}, weight: gate, bias: "mlp.gate.expert_bias", shared: shared, dense: 2, scale: 2.5},
		{types: []string{"exaone_moe"}, weight: gate, bias: "mlp.e_score_correction_bias", shared: shared, dense: 1, scale: 2.5},
		{types: []string{"mimo_v2_flash"}, weight: gate, bias: correction, dense: 1, scale: 1},
		{types: []string{"hy_v3"}, weight: "mlp.router.gate.weight", bias: "mlp.expert_bias", shared: "mlp.shared_mlp.", dense: 1, scale: 2.826, always: true},
		{types: []string{"afmoe"}, weight: "mlp.router.gate.weight", bias: "mlp.expert_bias", shared: shared, dense: 1, scale: 1, always: true},
		{types: []string{"minimax_m2"}, weight: "block_sparse_moe.gate.weight", bias: "block_sparse_moe.e_score_correction_bias", experts: w123("block_sparse_moe.experts.%d."), hidden: "intermediate_size", scale: 1, always: true, loss: true},
		{types: []string{"kimi_linear"}, weight: "block_sparse_moe.gate.weight", bias: "block_sparse_moe.gate.e_score_correction_bias", shared: "block_sparse_moe.shared_experts.", experts: w123("block_sparse_moe.experts.%d."), dense: 1, scale: 2.446},
	} {
		list = append(list, f.family())
	}
	return append(list, family{types: []string{"lfm2_moe"}, block: lfm2},
		family{types: []string{"cohere2_moe"}, block: cohere},
		family{types: []string{"flint"}, block: flint, loss: lossCoefficient(0.001, "router_aux_loss_coef")})
}

// sharedWidth has the shared experts have a width of their own.
func sharedWidth(key string) func(c *config, hidden int) int {
	return func(c *config, hidden int) int { return c.size(hidden, key) * c.size(1, "n_shared_experts") }
}

// family makes the description of a family of its differences.
func (f sigmoidFamily) family() family {
	of := family{types: f.types, block: f.block}
	if f.loss {
		of.loss = lossCoefficient(0.001, "router_aux_loss_coef")
	}
	return of
}

// block describes the block of a layer.
func (f sigmoidFamily) block(c *config, layer int) *Block {
	if !c.sparse(layer, f.dense) {
		return nil
	}
	key := f.hidden
	if key == "" {
		key = "moe_intermediate_size"
	}
	hidden := c.need(key)
	x := split("mlp.experts.%d.", hidden)
	if f.experts != nil {
		x = f.experts(hidden)
	}
	b := c.block(f.routing(c), x)
	if f.shared != "" {
		width := hidden * c.size(1, "n_shared_experts", "num_shared_experts")
		if f.width != nil {
			width = f.width(c, hidden)
		}
		b.share(f.shared, width)
	}
	return b
}

func (f sigmoidFamily) routing(c *config) Routing {
	r := Routing{
		Score: router.Sigmoid, Normalize: f.always || c.flag(!f.never, "norm_topk_prob", "moe_renormalize"),
		Scale: c.number(f.scale, scaleKeys()...), Weight: f.weight, Bias: f.bias,
	}
	if r.Scale <= 0 {
		c.fault("the factor of the weights is %v, want more than 0", r.Scale)
	}
	c.only("scoring_func", "sigmoid")
	if f.always {
		return r
	}
	r = c.grouped(r)
	r.GroupScore, r.FillZero = router.GroupTopTwo, f.fillZero
	return r
}

// scaleKeys are the names of the factor of all weights.
func scaleKeys() []string {
	return []string{"routed_scaling_factor", "router_scaling_factor", "route_scale", "moe_routed_scaling_factor", "moe_router_scaling_factor"}
}

func lfm2(c *config, layer int) *Block {
	if layer < c.size(2, "num_dense_layers") {
		return nil
	}
	r := Routing{
		Score: router.Sigmoid, Normalize: c.flag(true, "norm_topk_prob"), Epsilon: 1e-6,
		Scale: c.number(1, "routed_scaling_factor"), Weight: "feed_forward.gate.weight",
	}
	if c.flag(true, "use_expert_bias") {
		r.Bias = "feed_forward.expert_bias"
	}
	return c.block(r, mixtralSplit("feed_forward.experts.%d.", c.need("moe_intermediate_size")))
}

func flint(c *config, layer int) *Block {
	if !c.has("mlp_only_layers") && layer < 2 || !qwenSparse(c, layer) {
		return nil
	}
	r := Routing{Score: router.Sigmoid, Normalize: c.flag(true, "norm_topk_prob"), Weight: "mlp.gate.weight"}
	return c.block(r, split("mlp.experts.%d.", c.need("moe_intermediate_size"))).share("mlp.shared_expert.", c.need("shared_expert_intermediate_size"))
}

// cohere chooses by logits; weights are a softmax or sigmoids of those chosen. By default routed
// and shared experts are averaged.
func cohere(c *config, layer int) *Block {
	if !c.sparse(layer, 0) {
		return nil
	}
	c.only("expert_selection_fn", "softmax", "sigmoid")
	c.only("shared_expert_combination_strategy", "average", "sum")
	r := softmax("mlp.gate.weight", true)
	if c.text("softmax", "expert_selection_fn") == "sigmoid" {
		r.Score, r.Normalize = router.Sigmoid, c.flag(true, "norm_topk_prob")
	}
	hidden := c.need("intermediate_size")
	b := c.block(r, split("mlp.experts.%d.", hidden)).share("mlp.shared_experts.", hidden*c.size(0, "num_shared_experts"))
	if b.Shared != nil && c.text("average", "shared_expert_combination_strategy") == "average" {
		b.Expert.Scale, b.Shared.Scale = 0.5, 0.5
	}
	return b
}
