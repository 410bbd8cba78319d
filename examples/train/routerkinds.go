package main

import "github.com/switchyard-moe/switchyard/router"

// What stands here is how each router is set for this example, where that takes more than a line.

func switchRouter(o options) router.Router {
	return router.Switch{Jitter: 0.01, CapacityFactor: o.capacity, Losses: []router.Loss{router.SwitchLoss(o.balance)}}
}

func gshardRouter(o options) router.Router {
	return router.GShard{CapacityFactor: o.capacity, RandomSecond: true, Losses: []router.Loss{router.SwitchLoss(o.balance)}}
}

func noisyRouter(noise router.Noise, amount float32) func(options) router.Router {
	return func(o options) router.Router { return router.NoisyTopK{TopK: o.topK(), Noise: noise, Amount: amount} }
}

func cosineRouter(o options) router.Router {
	t := o.topK()
	t.Score = router.SoftmaxBefore
	return router.Cosine{TopK: t}
}

// groupLimitedRouter cuts the experts into two groups where that can be, and keeps the better one.
func groupLimitedRouter(o options) router.Router {
	groups := 1
	if o.experts%2 == 0 && o.experts/2 >= o.topk {
		groups = 2
	}
	t := o.topK()
	t.Score = router.SoftmaxBefore
	return router.GroupLimited{TopK: t, Groups: groups, Keep: 1}
}

// sigmoidBiasRouter leaves the balance to the bias alone, which moves fast because training is
// short.
func sigmoidBiasRouter(o options) router.Router {
	return router.TopK{K: o.topk, Score: router.Sigmoid, BiasRate: 0.01}
}

func scoreRouter(score router.Score) func(options) router.Router {
	return func(o options) router.Router {
		t := o.topK()
		t.Score = score
		return t
	}
}

func quantileRouter(o options) router.Router {
	return router.QuantileBalanced{TopK: router.TopK{K: o.topk, Score: router.SoftmaxBefore}, Rate: 0.1}
}

// prototypesRouter makes as many sets as divide the experts, up to -topk.
func prototypesRouter(o options) router.Router {
	k := o.topk
	for o.experts%k != 0 {
		k--
	}
	return router.Prototypes{K: k, CapacityFactor: o.capacity, Losses: o.balanceLoss()}
}

func sinkhornRouter(o options) router.Router {
	return router.Sinkhorn{K: o.topk, CapacityFactor: o.capacity}
}

func expertChoiceRouter(o options) router.Router {
	return router.ExpertChoice{CapacityFactor: float64(o.topk), Over: router.WholeBatch}
}

func cappedRouter(o options) router.Router {
	return router.ExpertChoice{CapacityFactor: float64(o.topk), Cap: o.topk}
}

// modalityRouter gives the letters more experts than the rest; a lone expert takes all bytes for
// one kind.
func modalityRouter(o options) router.Router {
	groups := []router.ModalityGroup{{Name: "letters", Experts: o.experts - o.experts/3}, {Name: "rest", Experts: o.experts / 3}}
	if o.experts/3 == 0 {
		groups[1].Experts = 1
		groups[0].Experts = max(o.experts-1, 1)
	}
	return router.Modality{Groups: groups, CapacityFactor: float64(o.topk), Over: router.WholeBatch, Aux: true}
}

func sideFeaturesRouter(o options) router.Router {
	return router.SideFeatures{TopK: o.topK(), Columns: byteClasses}
}

// dropoutRouter reaches its last number of experts after three quarters of the steps.
func dropoutRouter(o options) router.Router {
	most := max(o.experts/2, o.topk)
	return router.SMoEDropout{
		TopK:     router.TopK{K: most},
		Schedule: router.Schedule{Curve: router.CurveLinear, From: o.topk, To: most, Steps: o.steps * 3 / 4},
	}
}

// stages are the numbers of experts of the lower and of the upper layers.
func (o options) stages() router.MoLA { return router.MoLA{max(o.experts/2, o.topk), o.experts} }

// layerExperts returns the number of experts of the layer of a block, every second of which has
// one.
func (o options) layerExperts(block int) int {
	if layers := o.layers / 2; o.router == "mola" && layers >= 2 {
		return o.stages().Experts(block/2, layers)
	}
	return o.experts
}

func molaRouter(o options) router.Router {
	r := o.stages().Router(o.topk, o.experts)
	r.CapacityFactor, r.Losses = o.capacity, o.balanceLoss()
	return r
}

// hotRouter needs an expert beside the hot one for each other choice.
func hotRouter(o options) router.Router {
	return router.Hot{K: max(min(o.topk, o.experts-1), 1), Share: 1.0 / 3}
}

func severalRouter(o options) router.Router {
	return router.Several{Routers: []router.Router{o.topK(), cosineRouter(o)}}
}

// gates is the number of gates that training takes in turn.
func (o options) gates() int {
	if r, ok := o.buildRouter().(router.Several); ok {
		return len(r.Routers)
	}
	return 1
}
