package simulate

import (
	"math"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Policy is a way to plan, by its name.
type Policy struct {
	Name string
	// About says in a line what the policy does.
	About string
	// Plan plans for layers with these costs, with degrees to choose from.
	Plan func(layers []Layer, costs *schedule.Costs, degrees []int, o Options) Plan
}

// Policies returns the schedules of other systems, each with what is published of it, and ours,
// which is last. Those before FSMoE have one kind of link, so all their communication is on one
// resource.
func Policies() []Policy {
	return []Policy{
		{"DeepSpeed-MoE", "nothing overlaps", planSequential},
		{"Tutel", "two chunks, one stream of communication", planTwo},
		{"PipeMoE", "the best single degree for both passes, one stream", planSingle},
		{"PipeMoE+dense", "PipeMoE, and gradients beside the dense parts", planDense},
		{"PipeMoE+Lina", "PipeMoE, and gradients in chunks of 30 MB wherever the link is idle", planLina},
		{"one stream", "ours without overlap of the links between and within nodes", planOneStream},
		{"ours", "a degree for each layer and pass, gradients cut to the gaps, two kinds of links", Choose},
	}
}

func planSequential(_ []Layer, _ *schedule.Costs, _ []int, o Options) Plan {
	return Plan{Options: Options{OneStream: true, Batches: o.Batches}}
}

func planTwo(_ []Layer, _ *schedule.Costs, _ []int, o Options) Plan {
	o.OneStream = true
	return Plan{Options: o, ForwardDegrees: []int{2}, BackwardDegrees: []int{2}}
}

// planSingle is PipeMoE (INFOCOM 2023): one degree, the best for forward and backward together.
func planSingle(layers []Layer, costs *schedule.Costs, degrees []int, o Options) Plan {
	o.OneStream = true
	forward, backward := Makespans(layers, costs, schedule.Forward, degrees, o), Makespans(layers, costs, schedule.Backward, degrees, o)
	for i := range forward {
		forward[i] += backward[i]
	}
	d := []int{degrees[Least(forward)]}
	return Plan{Options: o, ForwardDegrees: d, BackwardDegrees: d}
}

func planDense(layers []Layer, costs *schedule.Costs, degrees []int, o Options) Plan {
	f := newFilling(layers, costs, planSingle(layers, costs, degrees, o))
	f.fill(func(g *gap, seconds, waiting float64, cost schedule.Linear) []float64 {
		if !g.beside {
			return nil
		}
		return exactly(g, seconds, waiting, cost)
	})
	return f.plan
}

// linaChunk is Lina's 30 MB in float32 elements.
const linaChunk = 30e6 / 4

// planLina is Lina (USENIX ATC 2023) on PipeMoE: chunks of one size, each of which starts if the
// link is idle then, so that the last one in a gap may end after it.
func planLina(layers []Layer, costs *schedule.Costs, degrees []int, o Options) Plan {
	f := newFilling(layers, costs, planSingle(layers, costs, degrees, o))
	f.fill(func(_ *gap, seconds, waiting float64, cost schedule.Linear) []float64 {
		begun := math.Ceil(seconds / cost.Time(schedule.Work{Starts: 1, Size: linaChunk}))
		n := int(max(0, min(begun, math.Floor(waiting/linaChunk))))
		pieces := make([]float64, n)
		for i := range pieces {
			pieces[i] = linaChunk
		}
		return pieces
	})
	return f.plan
}

func planOneStream(layers []Layer, costs *schedule.Costs, degrees []int, o Options) Plan {
	o.OneStream = true
	return Choose(layers, costs, degrees, o)
}
