package router

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// topKGolden is a case of a gate in which tokens choose: routes, weights and the gradient from the
// weights, as Megatron-Core and DeepSpeed compute them.
type topKGolden struct {
	expertGolden
	K       int
	Bias    []float32
	Options json.RawMessage
}

type topKOptions struct {
	Pre, Bias                bool
	Score, Drop, Renormalize string
	Groups                   int
	GroupTopK                int `json:"group_topk"`
	Scale                    float32
	CapacityFactor           float64 `json:"capacity_factor"`
}

func TestTopKGoldens(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range goldens[topKGolden](t, "router.json") {
		if c.Name == "expert_choice" || c.Name == "sinkhorn" {
			continue // which have tests of their own
		}
		seen[c.Name] = true
		c.check(t, gateWith(t, c.router(t), c.rows()))
	}
	require.Len(t, seen, 9)
}

// router returns the router that the case describes.
func (c topKGolden) router(t *testing.T) Router {
	var o topKOptions
	require.NoError(t, json.Unmarshal(c.Options, &o))
	top := TopK{K: c.K, Scale: o.Scale, CapacityFactor: o.CapacityFactor}
	switch {
	case o.Score == "sigmoid":
		top.Score = Sigmoid
	case o.Pre:
		top.Score = SoftmaxBefore
	}
	if o.Bias {
		top.Bias = c.Bias
	}
	if o.Drop == "probs" {
		top.Drop = ByProbability
	}
	if o.Renormalize == "after_drop" {
		top.Renormalize, top.Capacity.Formula = RenormalizeAfterDrop, DeepSpeedCapacity
	}
	switch {
	case c.Name == "gshard_top2":
		return GShard{CapacityFactor: top.CapacityFactor, Capacity: top.Capacity}
	case o.Groups > 0:
		return GroupLimited{TopK: top, Groups: o.Groups, Keep: o.GroupTopK}
	}
	return top
}
