package schedule

import (
	"math/rand/v2"

	"pgregory.net/rapid"
)

// drawGraph draws a graph of tasks of all kinds, each of which waits for some of those before it.
func drawGraph(t *rapid.T) *Graph {
	g := &Graph{Tasks: make([]Task, rapid.IntRange(0, 40).Draw(t, "tasks"))}
	for i := range g.Tasks {
		op := Op(rapid.IntRange(0, Ops-1).Draw(t, "op"))
		g.Tasks[i] = Task{
			Op: op, Resource: Resource(rapid.IntRange(0, Resources-1).Draw(t, "resource")), Chunk: i,
			Work: Work{float64(rapid.IntRange(0, 2).Draw(t, "starts")), float64(rapid.IntRange(0, 80).Draw(t, "size")) / 10},
		}
		if i > 0 {
			g.Tasks[i].After = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID).Draw(t, "after")
		}
	}
	return g
}

func drawCosts(t *rapid.T) *Costs {
	var c Costs
	for op := range c {
		c[op] = Linear{float64(rapid.IntRange(0, 10).Draw(t, "alpha")) / 10, float64(rapid.IntRange(1, 20).Draw(t, "beta")) / 10}
	}
	return &c
}

// seeded is a source of random numbers that gives the same ones in every run.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }
