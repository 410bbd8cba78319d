package router_test

import (
	"fmt"
	"testing"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

// everyLoss returns all losses that go with any gate.
func everyLoss() []router.Loss {
	return []router.Loss{
		router.Balance(0.5), router.ZLoss(0.25), router.SwitchLoss(0.5), router.GlobalBalance(0.25),
		router.ImportanceLoss(0.5), router.SequenceBalance(0.5, 4),
	}
}

func TestLosses(t *testing.T) {
	for _, l := range everyLoss() {
		if l.Name() == "global" {
			continue // over the whole batch by design: TestGlobalBalance
		}
		config := router.TopK{K: 2, Score: router.Sigmoid, CapacityFactor: 1, Losses: []router.Loss{l}}
		t.Run(l.Name(), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config })
		})
	}
}

func TestSwitch(t *testing.T) {
	for _, jitter := range []float32{0, 0.25} {
		config := router.Switch{Jitter: jitter, CapacityFactor: 1, Losses: []router.Loss{router.SwitchLoss(0.5)}}
		t.Run(fmt.Sprintf("jitter=%v", jitter), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config })
		})
	}
}

func TestGShard(t *testing.T) {
	for _, config := range []router.GShard{
		{}, {CapacityFactor: 0.75}, {RandomSecond: true}, {NoisySecond: true}, {RandomSecond: true, NoisySecond: true, CapacityFactor: 1},
	} {
		config.Losses = []router.Loss{router.SwitchLoss(0.5), router.ImportanceLoss(0.25), router.SequenceBalance(0.5, 4)}
		t.Run(fmt.Sprintf("%+v", config), func(t *testing.T) {
			var traits []routertest.Trait
			if config.RandomSecond || config.NoisySecond {
				traits = append(traits, routertest.TiesElsewhere)
			}
			routertest.Run(t, func() router.Router { return config }, traits...)
		})
	}
}

func TestNoisyTopK(t *testing.T) {
	for _, noise := range []router.Noise{router.LearnedGaussian, router.FixedGaussian, router.Gumbel, router.JitterTokens, router.JitterLogits} {
		config := router.NoisyTopK{TopK: router.TopK{K: 2, Losses: losses}, Noise: noise, Amount: 0.5}
		if noise == router.LearnedGaussian {
			config.Amount = 0
		}
		if noise == router.LearnedGaussian || noise == router.FixedGaussian {
			config.Losses = []router.Loss{router.ImportanceLoss(0.5), router.LoadLoss(0.5), router.Balance(0.25)}
		}
		t.Run(noise.String(), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config }, routertest.TiesElsewhere)
		})
	}
}

func TestGroupLimited(t *testing.T) {
	for score := router.SoftmaxAfter; score <= router.SqrtSoftplus; score++ {
		for rule := router.GroupTopShare; rule <= router.GroupMax; rule++ {
			for _, zero := range []bool{false, true} {
				if zero && score == router.SoftmaxAfter {
					continue // negative logits lose to 0: ties and gradients are elsewhere
				}
				config := router.GroupLimited{
					TopK: router.TopK{K: 2, Score: score, CapacityFactor: 1.5, Losses: losses}, Groups: 2, Keep: 1, GroupScore: rule, FillZero: zero,
				}
				t.Run(fmt.Sprintf("%v/%v/zero=%v", score, rule, zero), func(t *testing.T) {
					routertest.Run(t, func() router.Router { return config })
				})
			}
		}
	}
}

func TestPrototypes(t *testing.T) {
	for _, k := range []int{1, 2, 4} {
		config := router.Prototypes{K: k, CapacityFactor: 1, Losses: losses}
		t.Run(fmt.Sprintf("k=%d", k), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config }, routertest.TiesElsewhere)
		})
	}
}

func TestQuantileBalanced(t *testing.T) {
	for score := router.SoftmaxAfter; score <= router.SqrtSoftplus; score++ {
		config := router.QuantileBalanced{TopK: router.TopK{K: 2, Score: score, Losses: losses}}
		t.Run(score.String(), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config })
		})
	}
	config := router.QuantileBalanced{TopK: router.TopK{K: 2, Losses: losses}, OfLogits: true}
	t.Run("of logits", func(t *testing.T) {
		routertest.Run(t, func() router.Router { return config })
	})
}

// TestOptionsOfLosses runs the suite on losses as Megatron has them, with all that they leave out.
func TestOptionsOfLosses(t *testing.T) {
	for _, score := range []router.Score{router.SoftmaxBefore, router.Sigmoid} {
		top := router.TopK{K: 2, Score: score, BiasRate: 0.25, CapacityFactor: 1, Drop: router.ByProbability}
		top.Losses = []router.Loss{router.Balance(0.5, router.CountPlain), router.SequenceBalance(0.5, 4, router.CountPlain|router.MeanLength)}
		config := router.GroupLimited{TopK: top, Groups: 2, Keep: 1}
		t.Run(score.String(), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config }, routertest.TiesElsewhere)
		})
	}
}

// TestCapacity runs the suite on every formula, and on every rule of drops with each.
func TestCapacity(t *testing.T) {
	for formula := router.MegatronCapacity; formula <= router.FlaxformerCapacity; formula++ {
		for drop := router.ByPosition; drop <= router.AtRandom; drop++ {
			if testing.Short() && int(drop) != int(formula)%(int(router.AtRandom)+1) { // each of them once
				continue
			}
			config := router.TopK{K: 2, CapacityFactor: 1, Drop: drop, Capacity: router.Capacity{Formula: formula, Min: 1}}
			t.Run(fmt.Sprintf("%v/%v", formula, drop), func(t *testing.T) {
				if drop == router.AtRandom {
					routertest.Run(t, func() router.Router { return config }, routertest.TiesElsewhere)
					return
				}
				routertest.Run(t, func() router.Router { return config })
			})
		}
	}
}
