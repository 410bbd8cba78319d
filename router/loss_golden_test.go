package router

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// lossGolden is a case of a gate in which tokens choose: its losses and their gradients by logit,
// as Megatron-Core and DeepSpeed compute them.
type lossGolden struct {
	topKGolden
	AuxCoeff     float64   `json:"aux_loss_coeff"`
	Aux          *float64  `json:"aux_loss"`
	GradAux      []float64 `json:"grad_logits_from_aux"`
	Unscaled     *float64  `json:"aux_loss_unscaled"`
	GradUnscaled []float64 `json:"grad_logits_from_aux_unscaled"`
	ZCoeff       float64   `json:"z_loss_coeff"`
	Z            *float64  `json:"z_loss"`
	GradZ        []float64 `json:"grad_logits_from_z"`
	Counts       []int     `json:"tokens_per_expert_before_drop"`
}

func TestLossGoldens(t *testing.T) {
	seen := map[string]int{}
	for _, c := range goldens[lossGolden](t, "router.json") {
		unscaled := Balance(1)
		if c.Name == "gshard_top2" {
			unscaled = SwitchLoss(1) // its loss counts first choices
		}
		for _, l := range []struct {
			loss     Loss
			value    *float64
			gradient []float64
		}{
			{Balance(c.AuxCoeff), c.Aux, c.GradAux},
			{unscaled, c.Unscaled, c.GradUnscaled},
			{ZLoss(c.ZCoeff), c.Z, c.GradZ},
		} {
			if l.value != nil {
				c.checkLoss(t, l.loss, *l.value, l.gradient)
				seen[l.loss.Name()]++
			}
		}
	}
	require.Equal(t, map[string]int{"balance": 24 + 12, "switch": 4, "z": 24}, seen)
}

// checkLoss computes the case with one loss. The error of a gradient is relative to the largest
// one, or to a token's share of the loss.
func (c lossGolden) checkLoss(t *testing.T, loss Loss, value float64, gradient []float64) {
	t.Helper()
	g := gateWith(t, withLoss(t, c.router(t), loss), c.rows())
	d, err := g.Route(identity(c.Tokens), Batch{Ends: []int{c.Tokens}, Train: true})
	require.NoError(t, err)
	require.InEpsilon(t, value, d.GroupLoss[0], 1e-6, "%s: loss %s", c.Name, loss.Name())
	if c.Counts != nil {
		require.Equal(t, c.Counts, d.Counts, c.Name)
	}
	scale := d.GroupLoss[0] / float64(c.Tokens)
	for _, want := range gradient {
		scale = max(scale, math.Abs(want))
	}
	require.NoError(t, g.Backward(d, identity(c.Tokens), Gradient{
		Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: identity(c.Tokens),
	}))
	got := g.Params().Grad.Total()
	require.Len(t, gradient, c.Tokens*c.Experts)
	for i, want := range gradient {
		require.InDelta(t, want, float64(got[i]), 1e-5*scale, "%s: loss %s, logit %d", c.Name, loss.Name(), i)
	}
}

// withLoss returns the router with that loss only.
func withLoss(t *testing.T, r Router, loss Loss) Router {
	switch r := r.(type) {
	case TopK:
		r.Losses = []Loss{loss}
		return r
	case GShard:
		r.Losses = []Loss{loss}
		return r
	case GroupLimited:
		r.TopK.Losses = []Loss{loss}
		return r
	}
	require.FailNow(t, "no losses", "%T", r)
	return nil
}

// rows returns the logits of each token.
func (c topKGolden) rows() [][]float64 {
	var logits [][]float64
	for row := range slices.Chunk(c.Logits, c.Experts) {
		line := make([]float64, len(row))
		for e, v := range row {
			line[e] = float64(v)
		}
		logits = append(logits, line)
	}
	return logits
}
