package models

import (
	"slices"

	"github.com/switchyard-moe/switchyard/router"
)

// softmaxFamilies lists the models whose weights are a softmax.
func softmaxFamilies() []family {
	loss := lossCoefficient(0.001, "router_aux_loss_coef", "aux_loss_coef")
	return []family{
		{types: []string{"mixtral", "minimax"}, block: mixtral, loss: loss},
		{types: []string{"phimoe"}, block: phimoe, loss: loss},
		{types: []string{"qwen2_moe"}, block: qwen(false), loss: loss},
		{types: []string{"qwen3_moe"}, block: qwen3, loss: loss},
		{types: []string{"qwen3_next", "qwen4_exp", "qwen4_exp_text"}, block: qwen(true), loss: loss},
		{types: []string{"qwen3_5_moe", "qwen3_5_moe_text"}, block: qwen35, loss: loss},
		{types: []string{"granitemoe", "granitemoeshared", "granitemoehybrid"}, block: granite, loss: loss},
		{types: []string{"granitemoe_swa"}, block: graniteSWA, loss: loss},
		{types: []string{"aria_text", "aria"}, block: aria},
		{types: []string{"dbrx"}, block: dbrx, loss: func(c *config) float32 { return c.sub("ffn_config").number(0.01, "moe_loss_weight") }},
		{types: []string{"hunyuan_v1_moe"}, block: hunyuan},
		{types: []string{"ernie4_5_moe"}, block: ernie, loss: loss},
		{types: []string{"deepseek_v2"}, block: deepseekV2},
		{types: []string{"mistral4"}, block: mistral4},
		{types: []string{"mistral_large4", "mistral_large4_text"}, block: mistralLarge4},
		{types: []string{"mellum"}, block: mellum, loss: loss},
		{types: []string{"olmoe", "flex_olmo"}, block: olmoe, loss: lossCoefficient(0.01, "router_aux_loss_coef")},
		{types: []string{"jamba"}, block: jamba, loss: loss},
	}
}

func mixtral(c *config, _ int) *Block {
	return c.block(softmax("block_sparse_moe.gate.weight", true),
		mixtralSplit("block_sparse_moe.experts.%d.", c.need("intermediate_size")))
}

func olmoe(c *config, _ int) *Block {
	return c.block(softmax("mlp.gate.weight", c.flag(false, "norm_topk_prob")),
		split("mlp.experts.%d.", c.need("intermediate_size")))
}

// phimoe chooses two experts, whatever num_experts_per_tok says, which the auxiliary loss reads.
func phimoe(c *config, _ int) *Block {
	b := mixtral(c, 0)
	b.Routing.Normalize, b.Routing.SparseMixer = false, c.number(0.01, "router_jitter_noise")
	if b.Routing.SparseMixer <= 0 {
		c.fault("router_jitter_noise is %v, want more than 0", b.Routing.SparseMixer)
	}
	return b
}

// qwenSparse tells whether Qwen's models have experts in a layer.
func qwenSparse(c *config, layer int) bool {
	step := max(c.size(1, "decoder_sparse_step"), 1)
	return (layer+1)%step == 0 && !slices.Contains(c.sizes("mlp_only_layers"), layer)
}

func qwen3(c *config, layer int) *Block {
	if !qwenSparse(c, layer) {
		return nil
	}
	return c.block(softmax("mlp.gate.weight", c.flag(false, "norm_topk_prob")),
		split("mlp.experts.%d.", c.need("moe_intermediate_size")))
}

func mellum(c *config, layer int) *Block {
	if !c.sparse(layer, 0) {
		return nil
	}
	return c.block(softmax("mlp.gate.weight", c.flag(true, "norm_topk_prob")),
		split("mlp.experts.%d.", c.need("moe_intermediate_size")))
}

// sparse tells whether a layer has experts, by the list of layers' types, or because it is not
// among the first ones.
func (c *config) sparse(layer, dense int) bool {
	if kinds := c.texts("mlp_layer_types"); layer < len(kinds) {
		return kinds[layer] != "dense"
	}
	if list := c.list("moe_layer_freq"); list {
		freq := c.sizes("moe_layer_freq")
		return layer < len(freq) && freq[layer] != 0
	}
	return layer >= c.size(dense, "first_k_dense_replace", "num_dense_layers") && layer%max(c.size(1, "moe_layer_freq"), 1) == 0
}

func jamba(c *config, layer int) *Block {
	period := max(c.size(2, "expert_layer_period"), 1)
	if layer%period != c.size(1, "expert_layer_offset") || c.experts() == 1 {
		return nil
	}
	return c.block(softmax("feed_forward.router.weight", false),
		split("feed_forward.experts.%d.", c.need("intermediate_size")))
}

// qwen is the block of Qwen's models with a shared expert, whose answers have a gate.
func qwen(normalize bool) func(c *config, layer int) *Block {
	return func(c *config, layer int) *Block {
		if !qwenSparse(c, layer) {
			return nil
		}
		b := c.block(softmax("mlp.gate.weight", c.flag(normalize, "norm_topk_prob")),
			qwenExperts(c))
		b.share("mlp.shared_expert.", c.need("shared_expert_intermediate_size"))
		b.Shared.OutputGate.Name = "mlp.shared_expert_gate.weight"
		return b
	}
}

// qwenExperts is the experts of Qwen's models: a tensor for each, or one for all if the checkpoint
// has that.
func qwenExperts(c *config) Expert {
	hidden := c.need("moe_intermediate_size")
	if c.stacked("mlp.experts.gate_up_proj") {
		return fused("mlp.experts.gate_up_proj", "mlp.experts.down_proj", hidden, false)
	}
	return split("mlp.experts.%d.", hidden)
}

func qwen35(c *config, layer int) *Block {
	b := qwen(true)(c, layer)
	if b != nil {
		b.Routing = softmax("mlp.gate.weight", true) // norm_topk_prob is not read
		b.Routing.TopK = c.need("num_experts_per_tok")
	}
	return b
}

// granite is the block of Granite's models, with a shared expert beside it if there is one.
func granite(c *config, _ int) *Block {
	if c.size(0, "num_local_experts") == 0 {
		return nil
	}
	b := c.block(softmax("block_sparse_moe.router.layer.weight", true),
		fused("block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight", c.need("intermediate_size"), false))
	return graniteShared(c, b)
}

func graniteSWA(c *config, _ int) *Block {
	b := c.block(softmax("block_sparse_moe.router.weight", true),
		fused("block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj", c.need("intermediate_size"), false))
	return graniteShared(c, b)
}

func graniteShared(c *config, b *Block) *Block {
	if hidden := c.size(0, "shared_intermediate_size"); hidden > 0 {
		x := fused("shared_mlp.input_linear.weight", "shared_mlp.output_linear.weight", hidden, false)
		b.Shared = &x
	}
	return b
}

func aria(c *config, _ int) *Block {
	hidden := c.need("intermediate_size")
	b := c.block(softmax("mlp.router.weight", true), fused("mlp.experts.fc1.weight", "mlp.experts.fc2.weight", hidden, true))
	return b.share("mlp.shared_experts.", hidden*c.size(2, "moe_num_shared_experts"))
}

func dbrx(c *config, _ int) *Block {
	ffn := c.sub("ffn_config")
	defer func() { c.faults = append(c.faults, ffn.faults...) }()
	act := ffn.sub("ffn_act_fn")
	act.only("name", "silu")
	c.faults = append(c.faults, act.faults...)
	norm := ffn.number(1, "moe_normalize_expert_weights")
	if !ffn.has("moe_normalize_expert_weights") {
		norm = 0
	} else if norm != 1 {
		c.unsupported("moe_normalize_expert_weights %v", norm)
	}
	r := softmax("ffn.router.layer.weight", norm == 1)
	r.TopK = ffn.need("moe_top_k")
	flat := func(name string, inputMajor bool) Matrix {
		return Matrix{Name: "ffn.experts.mlp." + name, Flat: true, InputMajor: inputMajor}
	}
	return &Block{
		Dim: c.need("d_model", "hidden_size"), Experts: ffn.need("moe_num_experts"), Routing: r,
		Expert: Expert{Hidden: ffn.need("ffn_hidden_size"), Gate: flat("w1", false), Up: flat("v1", false), Down: flat("w2", true)},
	}
}

func hunyuan(c *config, layer int) *Block {
	hidden := c.need("intermediate_size")
	r := softmax("mlp.gate.wg.weight", true)
	r.TopK = c.sizeOf(layer, "moe_topk")
	return c.block(r, split("mlp.experts.%d.", hidden)).share("mlp.shared_mlp.", hidden)
}

func ernie(c *config, layer int) *Block {
	last := c.layers() - 1
	if c.has("moe_layer_end_index") && c.number(0, "moe_layer_end_index") >= 0 {
		last = c.size(last, "moe_layer_end_index")
	}
	if (layer+1)%max(c.size(1, "moe_layer_interval"), 1) != 0 || layer < c.size(1, "moe_layer_start_index") || layer > last {
		return nil
	}
	hidden := c.need("moe_intermediate_size")
	r := Routing{Score: router.SoftmaxBefore, Normalize: true, Weight: "mlp.gate.weight", Bias: "mlp.moe_statics.e_score_correction_bias"}
	r.TopK = c.need("moe_k", "num_experts_per_tok")
	return c.block(r, split("mlp.experts.%d.", hidden)).share("mlp.shared_experts.", hidden*c.size(2, "moe_num_shared_experts"))
}

// grouped adds the groups of experts that config.json names.
func (c *config) grouped(r Routing) Routing {
	r.Groups = c.size(1, "n_group", "num_expert_group")
	r.KeptGroups = c.size(1, "topk_group")
	return r
}

func deepseekV2(c *config, layer int) *Block {
	if !c.sparse(layer, 0) {
		return nil
	}
	r := Routing{Score: router.SoftmaxBefore, Weight: "mlp.gate.weight", Scale: c.number(1, "routed_scaling_factor")}
	if c.only("topk_method", "greedy", "group_limited_greedy"); c.text("greedy", "topk_method") != "greedy" {
		r = c.grouped(r)
		r.GroupScore, r.FillZero = router.GroupMax, true
	}
	hidden := c.need("moe_intermediate_size")
	return c.block(r, split("mlp.experts.%d.", hidden)).share("mlp.shared_experts.", hidden*c.size(2, "n_shared_experts"))
}

func mistral4(c *config, layer int) *Block {
	if !c.sparse(layer, 0) {
		return nil
	}
	hidden := c.need("moe_intermediate_size")
	b := c.block(mistralRouting(c, "mlp.gate.weight", c.flag(true, "norm_topk_prob")),
		fused("mlp.experts.gate_up_proj", "mlp.experts.down_proj", hidden, false))
	return b.share("mlp.shared_experts.", hidden*c.size(1, "n_shared_experts"))
}

func mistralRouting(c *config, weight string, normalize bool) Routing {
	r := Routing{Score: router.SoftmaxBefore, Normalize: normalize, Weight: weight, Scale: c.number(1, "routed_scaling_factor")}
	r = c.grouped(r)
	r.GroupScore, r.FillZero = router.GroupTopTwo, true
	return r
}

func mistralLarge4(c *config, layer int) *Block {
	if !c.sparse(layer, 1) {
		return nil
	}
	hidden := c.need("moe_intermediate_size")
	b := c.block(mistralRouting(c, "gate.weight", true), mixtralSplit("experts.%d.", hidden))
	if n := c.size(1, "n_shared_experts"); n > 0 {
		x := mixtralSplit("shared_experts.", n*hidden)
		b.Shared = &x
	}
	return b
}
