package models

import (
	"slices"

	"github.com/switchyard-moe/switchyard/router"
)

// family says how blocks follow from config.json.
type family struct {
	// types are the model types, with _ for -.
	types []string
	// block describes the block of a layer; it returns nil for a dense one.
	block func(c *config, layer int) *Block
	// loss returns the coefficient of the auxiliary loss; nil if there is none.
	loss func(c *config) float32
}

// families lists what Open knows.
func families() []family {
	return slices.Concat(softmaxFamilies(), sigmoidFamilies(), clampedFamilies())
}

// split is the layout of a tensor for each matrix of each expert, under the names that most have.
func split(prefix string, hidden int) Expert {
	return named(prefix, hidden, "gate_proj.weight", "up_proj.weight", "down_proj.weight")
}

// mixtralSplit is split under Mixtral's names.
func mixtralSplit(prefix string, hidden int) Expert {
	return named(prefix, hidden, "w1.weight", "w3.weight", "w2.weight")
}

func named(prefix string, hidden int, gate, up, down string) Expert {
	return Expert{
		Hidden: hidden,
		Gate:   Matrix{Name: prefix + gate}, Up: Matrix{Name: prefix + up}, Down: Matrix{Name: prefix + down},
	}
}

// fused is the layout in which a tensor has gate and up of all experts, one half each.
func fused(up, down string, hidden int, inputMajor bool) Expert {
	return Expert{
		Hidden: hidden,
		Gate:   Matrix{Name: up, Part: FirstHalf, InputMajor: inputMajor},
		Up:     Matrix{Name: up, Part: SecondHalf, InputMajor: inputMajor},
		Down:   Matrix{Name: down, InputMajor: inputMajor},
	}
}

// share adds a shared expert of hidden units, under the usual names; none for 0.
func (b *Block) share(prefix string, hidden int) *Block {
	if hidden > 0 {
		x := split(prefix, hidden)
		b.Shared = &x
	}
	return b
}

// block begins a description with what nearly all configurations say alike.
func (c *config) block(r Routing, e Expert) *Block {
	c.only("hidden_act", "silu", "swish")
	if r.TopK == 0 {
		r.TopK = c.need("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")
	}
	return &Block{
		Dim: c.need("hidden_size", "d_model"), Experts: c.experts(), Routing: r, Expert: e,
	}
}

// experts is the number of routed experts.
func (c *config) experts() int {
	return c.need("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
}

// softmax is a softmax over all experts, divided by the sum of those chosen or not.
func softmax(weight string, normalize bool) Routing {
	if normalize {
		return Routing{Score: router.SoftmaxAfter, Normalize: true, Weight: weight}
	}
	return Routing{Score: router.SoftmaxBefore, Weight: weight}
}

// lossCoefficient reads the coefficient of the auxiliary loss.
func lossCoefficient(def float64, names ...string) func(c *config) float32 {
	return func(c *config) float32 { return c.number(def, names...) }
}
