package models

import "slices"

// softmaxFamilies lists the models whose weights are a softmax.
func softmaxFamilies() []family {
	loss := lossCoefficient(0.001, "router_aux_loss_coef", "aux_loss_coef")
	return []family{
		{types: []string{"mixtral", "minimax"}, block: mixtral, loss: loss},
		{types: []string{"qwen3_moe"}, block: qwen3, loss: loss},
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
	return layer >= c.size(dense, "first_k_dense_replace")
}

func jamba(c *config, layer int) *Block {
	period := max(c.size(2, "expert_layer_period"), 1)
	if layer%period != c.size(1, "expert_layer_offset") || c.experts() == 1 {
		return nil
	}
	return c.block(softmax("feed_forward.router.weight", false),
		split("feed_forward.experts.%d.", c.need("intermediate_size")))
}
