package goldens

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/router"
)

// The cases that are not some kind of top-k.
const (
	gshardName       = "gshard_top2"
	expertChoiceName = "expert_choice"
	sinkhornName     = "sinkhorn"
)

// routers lists the names of the cases that the library can compute.
var routers = []string{
	"topk_softmax_after", "topk_softmax_before", "topk_sigmoid", "sigmoid_biased", "topk_capacity_probs",
	"group_limited_sigmoid", "group_limited_softmax", "renormalized_topk", gshardName, expertChoiceName, sinkhornName,
}

// router returns the router that the case describes, with the losses given.
func (c *routerCase) router(losses ...router.Loss) (router.Router, error) {
	switch c.Name {
	case expertChoiceName:
		return c.expertChoice()
	case sinkhornName:
		return router.Sinkhorn{K: c.K, Losses: losses}, nil
	}
	topK, err := c.topK(losses)
	switch {
	case err != nil:
		return nil, err
	case c.Name == gshardName:
		return c.gshard(topK)
	case c.options.Groups > 0:
		return router.GroupLimited{TopK: topK, Groups: c.options.Groups, Keep: c.options.GroupTopK}, nil
	}
	return topK, nil
}

// topK reads the options that most cases have.
func (c *routerCase) topK(losses []router.Loss) (r router.TopK, err error) {
	o := c.options
	r = router.TopK{K: c.K, Scale: o.Scale, CapacityFactor: o.CapacityFactor, Losses: losses}
	switch {
	case o.Score == "sigmoid" && !o.Pre:
		r.Score = router.Sigmoid
	case o.Score != "" && o.Score != "softmax" || o.Score == "sigmoid":
		return r, fmt.Errorf("score %q, pre %v", o.Score, o.Pre)
	case o.Pre:
		r.Score = router.SoftmaxBefore
	}
	if o.Bias {
		r.Bias = c.Bias
	}
	switch o.Drop {
	case "", "position":
	case "probs":
		r.Drop = router.ByProbability
	default:
		return r, fmt.Errorf("drop %q", o.Drop)
	}
	switch o.Renormalize {
	case "":
	case "after_drop": // DeepSpeed's cases, whose capacity has a formula of its own
		r.Renormalize, r.Capacity.Formula = router.RenormalizeAfterDrop, router.DeepSpeedCapacity
	default:
		return r, fmt.Errorf("renormalize %q", o.Renormalize)
	}
	return r, nil
}

// gshard turns what the options say into the router that has most of it built in.
func (c *routerCase) gshard(t router.TopK) (router.Router, error) {
	if t.K != 2 || t.Score != router.SoftmaxBefore || t.Renormalize != router.RenormalizeAfterDrop || t.Drop != router.ByPosition || t.Bias != nil || t.Scale != 0 {
		return nil, fmt.Errorf("%s with k = %d, %v, renormalised %v, drop %v", c.Name, t.K, t.Score, t.Renormalize, t.Drop)
	}
	return router.GShard{CapacityFactor: t.CapacityFactor, Capacity: t.Capacity, Losses: t.Losses}, nil
}

// expertChoice gives the factor that makes the file's capacity.
func (c *routerCase) expertChoice() (router.Router, error) {
	r := router.ExpertChoice{}
	switch c.options.Score {
	case "softmax":
		r.Score = router.SoftmaxBefore
	case "sigmoid":
		r.Score = router.Sigmoid
	default:
		return nil, fmt.Errorf("score %q", c.options.Score)
	}
	if c.Capacity != nil {
		r.CapacityFactor = float64(*c.Capacity) * float64(c.Experts) / float64(max(c.Tokens, 1))
	}
	return r, nil
}

// unscaledLoss is what the file means by the loss without a coefficient.
func (c *routerCase) unscaledLoss() router.Loss {
	if c.Name == gshardName {
		return router.SwitchLoss(1)
	}
	return router.Balance(1)
}

// route is a token and its expert.
type route struct{ token, expert int }

// slots returns where each route stands in its expert's queue: in the order of tokens, and in
// GShard's case all first choices before second ones.
func (c *routerCase) slots(a *router.Assignment) map[route]int {
	slots := map[route]int{}
	for e := range a.Experts {
		begin, end := a.Of(router.ExpertID(e))
		tokens := slices.Clone(a.Token[begin:end])
		if c.Name == gshardName {
			slices.SortStableFunc(tokens, func(s, t int32) int { return c.choice(s, e) - c.choice(t, e) })
		}
		for i, t := range tokens {
			slots[route{int(t), e}] = i
		}
	}
	return slots
}

// choice is 0 if an expert is the best of a token, and 1 if it is not.
func (c *routerCase) choice(token int32, e int) int {
	logits := c.Logits[int(token)*c.Experts:][:c.Experts]
	if slices.Max(logits) == logits[e] {
		return 0
	}
	return 1
}
