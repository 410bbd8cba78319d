package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/router"
)

// choosable is a router that -router can name.
type choosable struct {
	name, about string
	build       func(o options) router.Router
}

// choosables lists them, the default first. A router that is added needs a line here and nothing
// else in this program.
var choosables = []choosable{
	{"topk", "the -topk experts with the largest logits", func(o options) router.Router { return o.topK() }},
	{"switch", "one expert, with jitter (Switch)", switchRouter},
	{"gshard", "two experts, first choices before second ones (GShard)", gshardRouter},
	{"noisy-topk", "top-k with learned Gaussian noise (Shazeer)", noisyRouter(router.LearnedGaussian, 0)},
	{"gumbel-topk", "top-k drawn in proportion to the softmax", noisyRouter(router.Gumbel, 1)},
	{"cosine", "top-k by direction alone (X-MoE)", cosineRouter},
	{"group-limited", "top-k within the best groups of experts (DeepSeek-V2)", groupLimitedRouter},
	{"sigmoid-bias", "sigmoid scores, a bias that evens the load, no loss (DeepSeek-V3)", sigmoidBiasRouter},
	{"sqrt-softplus", "top-k of sqrt-softplus scores (DeepSeek-V4)", scoreRouter(router.SqrtSoftplus)},
	{"quantile", "a bias by quantiles that evens the load", quantileRouter},
	{"prototypes", "the best expert of each of -topk sets (M6)", prototypesRouter},
	{"sinkhorn", "top-k of a transport matrix", sinkhornRouter},
	{"base", "one expert by balanced assignment (BASE)", func(options) router.Router { return router.BASE{} }},
	{"expert-choice", "experts choose among the tokens of all ranks; sees the future", expertChoiceRouter},
	{"expert-choice-cap", "experts choose, at most -topk a token; sees the future", cappedRouter},
	{"moma", "letters and the rest have experts apart, which choose; auxiliary routers in evaluation (MoMa)", modalityRouter},
	{"hash", "-topk experts by a hash of the byte (Hash layers)", func(o options) router.Router { return router.Hash{K: o.topk} }},
	{"side-features", "top-k by the byte's class alone (Mixture-of-Supernets)", sideFeaturesRouter},
	{"smoe-dropout", "top-k of a frozen gate, -topk rising to half the experts (SMoE-Dropout)", dropoutRouter},
	{"mola", "top-k with half as many experts in the lower layers (MoLA)", molaRouter},
	{"uniform", "experts in turn, for benchmarks", func(o options) router.Router { return router.Uniform{K: o.topk} }},
	{"zipf", "experts drawn by Zipf's law, for benchmarks", func(o options) router.Router { return router.Zipf{K: o.topk, Exponent: 1} }},
	{"stochastic", "experts drawn at random (THOR)", func(o options) router.Router { return router.Stochastic{K: o.topk} }},
	{"hot", "expert 0 for a third, the others in turn, for benchmarks", hotRouter},
	{"several", "a linear and a cosine gate in turn, evaluated with the first", severalRouter},
	{"soft-moe", "slots that are mixtures of tokens; sees the future", func(options) router.Router { return router.SoftMoE{Slots: 2} }},
}

// topK is the default router's configuration, as the flags say; others start from it.
func (o options) topK() router.TopK {
	return router.TopK{K: o.topk, CapacityFactor: o.capacity, Losses: o.balanceLoss()}
}

func (o options) balanceLoss() []router.Loss { return []router.Loss{router.Balance(o.balance)} }

// routerNames lists the names, the default first.
func routerNames() []string {
	var names []string
	for _, c := range choosables {
		names = append(names, c.name)
	}
	return names
}

// buildRouter returns the router that -router names.
func (o options) buildRouter() router.Router {
	i := slices.IndexFunc(choosables, func(c choosable) bool { return c.name == o.router })
	return choosables[i].build(o)
}

// routerTable is the part of the help that tells the routers apart.
func routerTable() string {
	var b strings.Builder
	b.WriteString("\nRouters, by how they take bytes:\n")
	for _, c := range choosables {
		fmt.Fprintf(&b, "  %-18s %s\n", c.name, c.about)
	}
	return b.String()
}

// looksAhead tells whether a router's choices in evaluation depend on later tokens. Those of
// [router.Modality] with auxiliary routers do not, whatever they do in training.
func looksAhead(r router.Router) bool {
	if m, ok := r.(router.Modality); ok && m.Aux {
		return false
	}
	return !router.IsCausal(r)
}
