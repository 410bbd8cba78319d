package router

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

func TestSteadyStateAllocatesNothing(t *testing.T) {
	losses := []Loss{Balance(1), ZLoss(1), SwitchLoss(1), GlobalBalance(1), ImportanceLoss(1), SequenceBalance(1, 8)}
	top := TopK{K: 2, CapacityFactor: 1, Losses: losses}
	with := func(change func(*TopK)) TopK {
		r := top
		change(&r)
		return r
	}
	noisy := with(func(r *TopK) { r.Losses = append(losses[:6:6], LoadLoss(1)) })
	for name, config := range map[string]Router{
		"topk":          with(func(r *TopK) { r.Score, r.Drop = SoftmaxBefore, ByProbability }),
		"priority":      with(func(r *TopK) { r.Drop = ByPriority }),
		"random":        with(func(r *TopK) { r.Drop = AtRandom }),
		"sqrt softplus": with(func(r *TopK) { r.Score, r.BiasRate = SqrtSoftplus, 1 }),
		"switch":        Switch{Jitter: 0.5, CapacityFactor: 1, Losses: losses},
		"gshard":        GShard{RandomSecond: true, NoisySecond: true, CapacityFactor: 1, Losses: losses},
		"learned":       NoisyTopK{TopK: noisy},
		"fixed":         NoisyTopK{TopK: noisy, Noise: FixedGaussian, Amount: 1},
		"gumbel":        NoisyTopK{TopK: top, Noise: Gumbel, Amount: 1},
		"group limited": GroupLimited{TopK: top, Groups: 4, Keep: 2},
		"prototypes":    Prototypes{K: 2, CapacityFactor: 1, Losses: losses},
		"quantile":      QuantileBalanced{TopK: top},
	} {
		t.Run(name, func(t *testing.T) { checkAllocations(t, config) })
	}
}

// checkAllocations trains a gate on batches with and without padding, and expects it to take no
// memory after the first few.
func checkAllocations(t *testing.T, config Router) {
	g := gateWith(t, config, randomLogits(rand.New(rand.NewPCG(1, 1)), 64, 8))
	x, padding := identity(64), make([]bool, 64)
	for i := range padding {
		padding[i] = i%5 == 3
	}
	grad := Gradient{Weights: make([]float32, 128), LossScale: make([]float32, 2), DX: identity(64)}
	b := Batch{Ends: []int{32, 64}, Train: true}
	pass := func() {
		b.Step++
		d, err := g.Route(x, b)
		if err != nil {
			t.Fatal(err)
		}
		of := grad
		of.Weights = grad.Weights[:len(d.Weight)]
		_ = g.Backward(d, x, of)
		g.Params().Grad.Reset()
	}
	for _, b.Padding = range [][]bool{nil, padding} {
		require.Zero(t, alloctest.Least(60, pass), "padding: %v", b.Padding != nil)
	}
}
