package simulate

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/schedule"
)

// TestEqualRanksAreLikeOne: a cluster of equal ranks takes what one rank takes.
func TestEqualRanksAreLikeOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, costs := drawLayers(t, 2), drawCosts(t)
		plan := drawPlan(t, layers)
		g := BuildStep(layers, &plan)
		c := Cluster{Nodes: rapid.IntRange(1, 4).Draw(t, "nodes"), PerNode: rapid.IntRange(1, 3).Draw(t, "per node"), Costs: *costs, Watch: []int{0}}
		one := schedule.Simulate(g, costs)
		run := c.Simulate(g, 3)
		require.InDelta(t, one.Makespan(), run.StepTime, 1e-9*max(1, one.Makespan()))
		require.InDelta(t, one.Exposed(), run.Exposed, 1e-9*max(1, one.Makespan()))
		for i, s := range run.Timelines[0].Spans {
			require.InDelta(t, one.Spans[i].End, s.End, 1e-6)
		}
	})
}

// slowly is the same simulation the long way: every rank's ends of all tasks, found by asking the
// definition.
func slowly(c *Cluster, g *schedule.Graph, steps int) (begin []float64, ends [][]float64) {
	ranks := c.Nodes * c.PerNode
	var free [schedule.Resources][]float64
	for resource := range free {
		free[resource] = make([]float64, ranks)
	}
	for step := range steps {
		begin = make([]float64, ranks)
		for r := range begin {
			begin[r] = max(free[0][r], free[1][r], free[2][r])
		}
		ends = make([][]float64, len(g.Tasks))
		for i := range g.Tasks {
			t := &g.Tasks[i]
			ends[i] = make([]float64, ranks)
			for r := range ranks {
				start := 0.0
				for q := range ranks {
					together := q == r || t.Op.Resource() == schedule.Inter && q%c.PerNode == r%c.PerNode || t.Op.Resource() == schedule.Intra && q/c.PerNode == r/c.PerNode
					if !together {
						continue
					}
					start = max(start, begin[q], free[t.Resource][q])
					for _, a := range t.After {
						start = max(start, ends[a][q])
					}
				}
				size, factor := t.Work.Size, 1.0
				load := c.Load(step, t.Layer, r)
				switch t.Op {
				case schedule.Dispatch, schedule.Combine:
					size *= max(1, load)
					factor = c.Link[r]
				case schedule.Expert, schedule.Gather, schedule.Scatter:
					size *= load
				case schedule.Counts:
					factor = c.Link[r]
				case schedule.GradReduce:
					for q := r % c.PerNode; q < ranks; q += c.PerNode {
						factor = max(factor, c.Link[q])
					}
				}
				if t.Resource == schedule.Compute {
					factor = c.Slow[r] * c.Noise(step, t.Layer, r, t.Pass)
				}
				ends[i][r] = start + factor*c.Costs[t.Op].Time(schedule.Work{Starts: t.Work.Starts, Size: size})
			}
			copy(free[t.Resource], ends[i])
		}
	}
	return begin, ends
}

func TestClusterIsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers := drawLayers(t, 2)
		plan := drawPlan(t, layers)
		g := BuildStep(layers, &plan)
		c := Cluster{Nodes: rapid.IntRange(1, 3).Draw(t, "nodes"), PerNode: rapid.IntRange(1, 3).Draw(t, "per node"), Costs: *drawCosts(t)}
		ranks := c.Nodes * c.PerNode
		factor := rapid.Float64Range(1, 3)
		c.Slow = rapid.SliceOfN(factor, ranks, ranks).Draw(t, "slow")
		c.Link = rapid.SliceOfN(factor, ranks, ranks).Draw(t, "link")
		c.Load = func(step, layer, rank int) float64 { return float64((step+layer+2*rank)%3) * 0.75 }
		c.Noise = func(step, layer, rank int, p schedule.Pass) float64 { return 1 + float64((step+rank+int(p)+layer)%4)/4 }
		for r := range ranks {
			c.Watch = append(c.Watch, r)
		}
		const steps = 2
		begin, want := slowly(&c, g, steps)
		run := c.Simulate(g, steps)
		last := slices.Max(begin)
		for i := range want {
			last = max(last, slices.Max(want[i]))
		}
		require.InDelta(t, last/steps, run.StepTime, 1e-9*max(1, last))
		for r, at := range begin {
			require.InDelta(t, at, run.Timelines[r].Begin.Sub(time.Time{}).Seconds(), 1e-6, "rank %d", r)
		}
		for i := range want {
			for r, end := range want[i] {
				require.InDelta(t, end-begin[r], run.Timelines[r].Spans[i].End, 1e-6, "%v on rank %d", &g.Tasks[i], r)
			}
		}
	})
}

// TestOneStragglerHoldsUpAll: every rank waits for it in every exchange, so all are exposed but it.
func TestOneStragglerHoldsUpAll(t *testing.T) {
	layers := []Layer{{schedule.Dense: {Starts: 1, Size: 10}, schedule.Dispatch: {Starts: 1, Size: 1}, schedule.Expert: {Starts: 1, Size: 10}, schedule.Combine: {Starts: 1, Size: 1}}}
	c := Cluster{Nodes: 8, PerNode: 2, Costs: *unitCosts(), Watch: []int{4, 6}}
	g := BuildForward(layers, &Plan{})
	require.InDelta(t, 22, c.Simulate(g, 5).StepTime, 1e-9)
	c.Slow = make([]float64, 16)
	for r := range c.Slow {
		c.Slow[r] = 1
	}
	c.Slow[6] = 1.5
	run := c.Simulate(g, 5)
	require.InDelta(t, 32, run.StepTime, 1e-9)
	require.InDelta(t, 12, run.Timelines[0].Exposed(), 1e-9)
	require.InDelta(t, 2, run.Timelines[1].Exposed(), 1e-9)
}

func TestThousandsOfRanksLayersAndSteps(t *testing.T) {
	g := func(n int) *schedule.Graph {
		layers := make([]Layer, n)
		for i := range layers {
			layers[i] = exchangeOnly()
		}
		plan := Plan{ForwardDegrees: []int{4}, BackwardDegrees: []int{4}}
		return BuildStep(layers, &plan)
	}
	began := time.Now()
	for _, c := range []struct{ nodes, perNode, layers, steps int }{{512, 8, 24, 1}, {2, 4, 2000, 1}, {4, 8, 2, 2000}} {
		cluster := Cluster{Nodes: c.nodes, PerNode: c.perNode, Costs: *unitCosts()}
		require.Positive(t, cluster.Simulate(g(c.layers), c.steps).StepTime)
	}
	require.Less(t, time.Since(began), time.Minute, "it takes a second or two")
}

func TestClusterValidate(t *testing.T) {
	c := Cluster{Nodes: 1, PerNode: 2, Slow: []float64{1}, Link: []float64{0, 1}, Watch: []int{2}}
	for _, says := range []string{"Slow has 1 entries for 2 ranks", "Link of rank 0 is 0", "Watch names rank 2 of 2"} {
		require.ErrorContains(t, c.Validate(), says)
	}
	require.ErrorContains(t, (&Cluster{}).Validate(), "0 nodes of 0 ranks")
	require.Panics(t, func() { c.Simulate(&schedule.Graph{}, 1) })
	require.Panics(t, func() { (&Cluster{Nodes: 1, PerNode: 1}).Simulate(&schedule.Graph{}, 0) })
}

func BenchmarkCluster4096(b *testing.B) {
	layers := make([]Layer, 24)
	for i := range layers {
		layers[i] = exchangeOnly()
	}
	plan := Plan{ForwardDegrees: []int{4}, BackwardDegrees: []int{4}}
	g := BuildStep(layers, &plan)
	c := Cluster{Nodes: 512, PerNode: 8, Costs: *unitCosts()}
	for b.Loop() {
		c.Simulate(g, 1)
	}
	b.ReportMetric(float64(len(g.Tasks)*4096), "tasks")
}
