package expert_test

import (
	"testing"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/expert/experttest"
)

// kinds are the experts that this package's tests go through.
var kinds = map[string]expert.Expert{
	"identity":     expert.Identity{},
	"ffn relu":     expert.FFN{Hidden: 9, Activation: expert.ReLU},
	"ffn gelu":     expert.FFN{Hidden: 17, Activation: expert.GELU},
	"ffn no bias":  expert.FFN{Hidden: 5, Activation: expert.GELU, NoBias: true},
	"swiglu":       expert.SwiGLU{Hidden: 13},
	"swiglu three": expert.SwiGLU{Hidden: 13, Workers: 3},
	"glu":          expert.GLU{Hidden: 67},
	"glu biases":   expert.GLU{Hidden: 13, Alpha: 1.702, Shift: 1, Limit: 0.75, Biases: true},
	"glu scale":    expert.GLU{Hidden: 5, Scale: 0.5},
	"glu limit":    expert.GLU{Hidden: 13, Limit: 0.25, LimitAct: true, OutputGate: true, Scale: 0.75},
}

func TestConformance(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			experttest.Run(t, func() expert.Expert { return kind })
		})
	}
}

func TestOptimizerConformance(t *testing.T) {
	for name, kind := range map[string]func() expert.Optimizer{
		"adam": func() expert.Optimizer { return expert.NewAdam(0.01) },
		"adamw": func() expert.Optimizer {
			return &expert.Adam{LR: 0.01, Beta1: 0.8, Beta2: 0.9, Eps: 1e-6, WeightDecay: 0.1}
		},
		"adam groups": func() expert.Optimizer {
			a := expert.NewAdam(0.01)
			a.Groups = []expert.ParamGroup{{Names: []string{"v"}, WeightDecay: new(float32(0.2))}}
			return a
		},
		"adam fp8": func() expert.Optimizer {
			return &expert.Adam{LR: 0.01, Beta1: 0.8, Beta2: 0.9, Eps: 1e-6, Moments: expert.FP8Moments}
		},
		"adam int4": func() expert.Optimizer {
			return &expert.Adam{LR: 0.01, Beta1: 0.8, Beta2: 0.9, Eps: 1e-6, Moments: expert.Int4Moments}
		},
		"momentum fp8": func() expert.Optimizer {
			return &expert.SGD{LR: 0.1, Momentum: 0.9, Moments: expert.FP8Moments}
		},
		"sgd":      func() expert.Optimizer { return expert.NewSGD(0.1) },
		"momentum": func() expert.Optimizer { return &expert.SGD{LR: 0.1, Momentum: 0.9, WeightDecay: 0.01} },
	} {
		t.Run(name, func(t *testing.T) { experttest.RunOptimizer(t, kind, &expert.Adam{}, &expert.SGD{}) })
	}
}

// constant is an expert whose parameters begin as constants, whatever the seed.
type constant struct{ expert.FFN }

func (c constant) New(s expert.Shape) (expert.Group, error) {
	g, err := c.FFN.New(s)
	if err == nil {
		for i := range g.Params().Value {
			g.Params().Value[i] = 0.25
		}
	}
	return g, err
}

// TestConstantParametersConform: no seed need show in them.
func TestConstantParametersConform(t *testing.T) {
	experttest.Run(t, func() expert.Expert { return constant{expert.FFN{Hidden: 5, Activation: expert.GELU}} })
}
