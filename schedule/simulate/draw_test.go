package simulate

import (
	"math/rand/v2"

	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/schedule"
)

// unitCosts make one start cost nothing and a unit of size one second.
func unitCosts() *schedule.Costs {
	var c schedule.Costs
	for op := range c {
		c[op].Beta = 1
	}
	return &c
}

// drawLayer draws a layer with some of the operations, their times between about 0 and 8; without
// Weights, the last, which stacks have within Expert.
func drawLayer(t *rapid.T, label string) Layer {
	var l Layer
	for op := range schedule.Weights {
		if rapid.IntRange(0, 3).Draw(t, label+op.String()+"?") > 0 {
			l[op] = schedule.Work{Starts: 1, Size: float64(rapid.IntRange(0, 80).Draw(t, label+op.String())) / 10}
		}
	}
	return l
}

func drawLayers(t *rapid.T, most int) []Layer {
	layers := make([]Layer, rapid.IntRange(1, most).Draw(t, "layers"))
	for i := range layers {
		layers[i] = drawLayer(t, "")
	}
	return layers
}

func drawOptions(t *rapid.T) Options {
	return Options{
		OneStream: rapid.Bool().Draw(t, "one stream"), SharedInGap: rapid.Bool().Draw(t, "shared in gap"),
		Batches: rapid.IntRange(0, 3).Draw(t, "batches"), PerPeer: rapid.IntRange(0, 3).Draw(t, "per peer"),
	}
}

// drawPlan draws a plan that fits the layers, with gradients in random gaps.
func drawPlan(t *rapid.T, layers []Layer) Plan {
	p := Plan{Options: drawOptions(t), Carried: float64(rapid.IntRange(0, 5).Draw(t, "carried"))}
	degree := rapid.IntRange(1, 5)
	p.ForwardDegrees = rapid.SliceOfN(degree, len(layers), len(layers)).Draw(t, "forward")
	p.BackwardDegrees = rapid.SliceOfN(degree, len(layers), len(layers)).Draw(t, "backward")
	p.Within, p.Beside = make([][]float64, len(layers)), make([][]float64, len(layers))
	waiting := p.Carried
	for i := len(layers) - 1; i >= 0; i-- {
		for _, gaps := range [][][]float64{p.Within, p.Beside} {
			for range rapid.IntRange(0, 2).Draw(t, "pieces") {
				piece := waiting * rapid.Float64Range(0, 1).Draw(t, "piece")
				gaps[i] = append(gaps[i], piece)
				waiting -= piece
			}
		}
		waiting += layers[i][schedule.GradReduce].Size
	}
	return p
}

func drawCosts(t *rapid.T) *schedule.Costs {
	var c schedule.Costs
	for op := range c {
		c[op] = schedule.Linear{Alpha: float64(rapid.IntRange(0, 10).Draw(t, "alpha")) / 10, Beta: float64(rapid.IntRange(1, 20).Draw(t, "beta")) / 10}
	}
	return &c
}

// seeded is a source of random numbers that gives the same ones in every run.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }
