package models

import (
	"github.com/switchyard-moe/switchyard/router"
)

// clampedFamilies lists the models whose experts are not plain SwiGLU.
func clampedFamilies() []family {
	loss := lossCoefficient(0.001, "router_aux_loss_coef")
	return []family{
		{types: []string{"gpt_oss"}, block: gptOSS, loss: loss},
		{types: []string{"openai_privacy_filter"}, block: privacyFilter},
		{types: []string{"glm5_next", "glm5_next_text"}, block: glm5, loss: loss},
		{types: []string{"hy_v4"}, block: hyV4},
		{types: []string{"minimax_m3_vl", "minimax_m3_vl_text"}, block: minimaxM3, loss: loss},
		{types: []string{"step3p7", "step3p7_text", "step3p5"}, block: step3},
	}
}

// openai is OpenAI's experts, whose gate and up are given parts of one tensor.
func openai(c *config, gate, up Part) *Block {
	x := Expert{
		Hidden: c.need("intermediate_size"), Alpha: 1.702, Shift: 1, Limit: c.number(7, "swiglu_limit"),
		Gate:     Matrix{Name: "mlp.experts.gate_up_proj", Part: gate, InputMajor: true},
		Up:       Matrix{Name: "mlp.experts.gate_up_proj", Part: up, InputMajor: true},
		Down:     Matrix{Name: "mlp.experts.down_proj", InputMajor: true},
		GateBias: Matrix{Name: "mlp.experts.gate_up_proj_bias", Part: gate},
		UpBias:   Matrix{Name: "mlp.experts.gate_up_proj_bias", Part: up},
		DownBias: Matrix{Name: "mlp.experts.down_proj_bias"},
	}
	r := softmax("mlp.router.weight", true)
	r.LogitBias = "mlp.router.bias"
	return c.block(r, x)
}

func gptOSS(c *config, _ int) *Block { return openai(c, Even, Odd) }

func privacyFilter(c *config, _ int) *Block { return openai(c, FirstHalf, SecondHalf) }

// glm5 is DeepSeek-V3's block with clamps in all experts.
func glm5(c *config, layer int) *Block {
	f := sigmoidFamily{weight: "mlp.gate.weight", bias: correction, shared: "mlp.shared_experts.", dense: 3, scale: 2.5}
	b := f.block(c, layer)
	if b != nil {
		b.Expert.Limit = c.number(10, "swiglu_limit")
		if b.Shared != nil {
			b.Shared.Limit = b.Expert.Limit
		}
	}
	return b
}

// hyV4 clamps the routed experts only. Saving by transformers renames the shared expert's gate.
func hyV4(c *config, layer int) *Block {
	f := sigmoidFamily{
		weight: "mlp.gate.weight", bias: correction, shared: "mlp.shared_experts.", dense: 1, scale: 2.827,
		experts: func(hidden int) Expert {
			return fused("mlp.experts.gate_up_proj", "mlp.experts.down_proj", hidden, false)
		},
	}
	b := f.block(c, layer)
	if b != nil {
		b.Expert.Limit = c.number(10, "swiglu_limit")
		if b.Shared != nil && c.stacked("mlp.shared_experts.linear_gate.weight") {
			b.Shared.Gate.Name = "mlp.shared_experts.linear_gate.weight"
		}
	}
	return b
}

// minimaxM3 has gpt-oss's experts without biases.
func minimaxM3(c *config, layer int) *Block {
	f := sigmoidFamily{
		weight: "block_sparse_moe.gate.weight", bias: "block_sparse_moe.e_score_correction_bias", shared: "block_sparse_moe.shared_experts.",
		hidden: "intermediate_size", scale: 2, always: true,
		experts: func(hidden int) Expert { return mixtralSplit("block_sparse_moe.experts.%d.", hidden) },
		width:   func(c *config, hidden int) int { return c.size(hidden, "shared_intermediate_size") },
	}
	b := f.block(c, layer)
	if b == nil {
		return nil
	}
	for _, x := range []*Expert{&b.Expert, b.Shared} {
		if x != nil {
			x.Alpha, x.Shift, x.Limit = 1.702, 1, c.number(7, "swiglu_limit")
		}
	}
	return b
}

// step3 clamps after the gate's activation, with limits for each layer.
func step3(c *config, layer int) *Block {
	if !c.sparse(layer, 3) {
		return nil
	}
	x := Expert{
		Hidden: c.need("moe_intermediate_size"), Limit: c.numberOf(layer, "swiglu_limits"), LimitAct: true,
		Gate: Matrix{Name: "moe.gate_proj.weight"}, Up: Matrix{Name: "moe.up_proj.weight"}, Down: Matrix{Name: "moe.down_proj.weight"},
	}
	r := Routing{Score: router.Sigmoid, Normalize: true, Scale: c.number(1, "moe_router_scaling_factor"), Weight: "moe.gate.weight", Bias: "moe.router_bias"}
	b := c.block(r, x).share("share_expert.", c.need("share_expert_dim"))
	b.Shared.Limit, b.Shared.LimitAct = c.numberOf(layer, "swiglu_limits_shared"), true
	return b
}

// numberOf returns a layer's number of a list, whose null is 0; 0 if there is none.
func (c *config) numberOf(layer int, name string) float32 {
	var list []*float32
	c.get(&list, "a list of numbers", name)
	if layer < len(list) && list[layer] != nil {
		return *list[layer]
	}
	return 0
}
