package simulate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/schedule"
)

var rewrite = flag.Bool("rewrite", false, "write what the code draws into testdata; read the difference before keeping it")

// whole is a layer that has every operation.
func whole() Layer {
	var l Layer
	for op := range l {
		l[op] = schedule.Work{Starts: 1, Size: 8}
	}
	return l
}

// exchangeOnly is a layer of the four communications and the experts.
func exchangeOnly() Layer {
	l := Layer{schedule.GradReduce: {Starts: 1, Size: 8}}
	for _, op := range []schedule.Op{schedule.Dispatch, schedule.Gather, schedule.Expert, schedule.Scatter, schedule.Combine, schedule.Dense} {
		l[op] = schedule.Work{Starts: 1, Size: 8}
	}
	return l
}

// TestPictures compares the graphs with pictures that were read by eye.
func TestPictures(t *testing.T) {
	flat := exchangeOnly() // experts are not sharded
	flat[schedule.Gather], flat[schedule.Scatter], flat[schedule.Counts], flat[schedule.Route], flat[schedule.Shared] = schedule.Work{}, schedule.Work{}, schedule.Work{Starts: 1, Size: 0}, schedule.Work{Starts: 1, Size: 1}, schedule.Work{Starts: 1, Size: 1}
	plan := func(degree int, o Options) *Plan {
		return &Plan{Options: o, ForwardDegrees: []int{degree}, BackwardDegrees: []int{degree}}
	}
	cut := plan(2, Options{})
	cut.Within, cut.Beside, cut.Tail = [][]float64{{2}, {1}}, [][]float64{{3}, nil}, []float64{4}
	cut.Carried = 1
	for _, c := range []struct {
		name  string
		graph *schedule.Graph
	}{
		{"forward, one chunk", BuildForward([]Layer{whole()}, plan(1, Options{}))},
		{"forward, two chunks", BuildForward([]Layer{exchangeOnly()}, plan(2, Options{}))},
		{"forward, four chunks", BuildForward([]Layer{exchangeOnly()}, plan(4, Options{}))},
		{"forward, two layers", BuildForward([]Layer{exchangeOnly(), exchangeOnly()}, plan(2, Options{}))},
		{"forward, one stream", BuildForward([]Layer{exchangeOnly()}, plan(2, Options{OneStream: true}))},
		{"forward, shared expert after the answers", BuildForward([]Layer{flat}, plan(1, Options{}))},
		{"forward, shared expert in the gap", BuildForward([]Layer{flat}, plan(1, Options{SharedInGap: true}))},
		{"forward, two micro-batches", BuildForward([]Layer{flat, flat}, plan(1, Options{Batches: 2, SharedInGap: true}))},
		{"forward, experts start per peer", BuildForward([]Layer{flat}, plan(1, Options{PerPeer: 3}))},
		{"backward, two chunks", BuildBackward([]Layer{exchangeOnly()}, plan(2, Options{}))},
		{"backward, gradients cut", BuildBackward([]Layer{exchangeOnly(), exchangeOnly()}, cut)},
		{"step, one chunk", BuildStep([]Layer{exchangeOnly()}, plan(1, Options{}))},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join("testdata", strings.NewReplacer(", ", "_", " ", "-").Replace(c.name)+".txt")
			got := c.name + "\n\n" + c.graph.String()
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got)
		})
	}
}

// TestGraphsDoAllTheWork: however a layer is cut, sizes add up, starts are what each piece costs,
// and every gradient is summed.
func TestGraphsDoAllTheWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers := drawLayers(t, 3)
		plan := drawPlan(t, layers)
		batches, peers := float64(max(1, plan.Batches)), max(1, plan.PerPeer)
		g := BuildStep(layers, &plan)
		require.NoError(t, g.Validate())
		var sizes, starts [schedule.Ops]float64
		for i := range g.Tasks {
			sizes[g.Tasks[i].Op] += g.Tasks[i].Work.Size
			starts[g.Tasks[i].Op] += g.Tasks[i].Work.Starts
		}
		gradients := plan.Carried
		var wantSizes, wantStarts [schedule.Ops]float64
		for i, l := range layers {
			gradients += l[schedule.GradReduce].Size
			for pass, work := range []Layer{l, l.Backward()} {
				for op := range schedule.Op(schedule.Ops) {
					pieces := 1.0
					switch op {
					case schedule.Dispatch, schedule.Combine:
						pieces = float64(plan.Degree(schedule.Pass(pass), i))
					case schedule.Pack, schedule.Gather, schedule.Expert, schedule.Scatter, schedule.Unpack:
						pieces = float64(plan.Degree(schedule.Pass(pass), i) * peers)
					}
					wantSizes[op] += batches * work[op].Size
					wantStarts[op] += batches * pieces * work[op].Starts
				}
			}
		}
		wantSizes[schedule.GradReduce], wantStarts[schedule.GradReduce] = gradients, starts[schedule.GradReduce]
		for op := range sizes {
			require.InDelta(t, wantSizes[op], sizes[op], 1e-6, "size of %v", schedule.Op(op))
			require.InDelta(t, wantStarts[op], starts[op], 1e-6, "starts of %v", schedule.Op(op))
		}
	})
}

// TestGradientsComeAfterTheirLayer: no all-reduce begins before the dense parts have ended whose
// gradients it may hold.
func TestGradientsComeAfterTheirLayer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers := drawLayers(t, 4)
		for i := range layers {
			layers[i][schedule.Dense] = schedule.Work{Starts: 1, Size: 1}
		}
		plan := drawPlan(t, layers)
		g := BuildBackward(layers, &plan)
		line := schedule.Simulate(g, unitCosts())
		denseEnd := make([]float64, len(layers)+1)
		for i, s := range line.Spans {
			if task := &g.Tasks[i]; task.Op == schedule.Dense {
				denseEnd[task.Layer] = max(denseEnd[task.Layer], s.End)
			}
		}
		for i, s := range line.Spans {
			task := &g.Tasks[i]
			if task.Op != schedule.GradReduce {
				continue
			}
			in := len(at(plan.Within, task.Layer)) + len(at(plan.Beside, task.Layer))
			if task.Chunk >= in {
				require.GreaterOrEqual(t, s.Start, denseEnd[0], "the tail")
			} else {
				require.GreaterOrEqual(t, s.Start, denseEnd[task.Layer+1], "%v", task)
			}
		}
	})
}

// TestOneStreamIsNeverFaster: resources of their own take constraints away and add none.
func TestOneStreamIsNeverFaster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, costs := drawLayers(t, 3), drawCosts(t)
		plan := drawPlan(t, layers)
		plan.OneStream = true
		one := schedule.Simulate(BuildStep(layers, &plan), costs)
		plan.OneStream = false
		two := schedule.Simulate(BuildStep(layers, &plan), costs)
		require.LessOrEqual(t, two.Makespan(), one.Makespan()+1e-9)
	})
}

func TestOptionsFillTheGap(t *testing.T) {
	l := Layer{schedule.Dense: {Starts: 1, Size: 2}, schedule.Route: {Starts: 1, Size: 1}, schedule.Counts: {Starts: 1, Size: 1}, schedule.Dispatch: {Starts: 1, Size: 8}, schedule.Expert: {Starts: 1, Size: 6}, schedule.Combine: {Starts: 1, Size: 8}, schedule.Shared: {Starts: 1, Size: 5}}
	makespan := func(o Options, layers ...Layer) float64 {
		line := schedule.Simulate(BuildForward(layers, &Plan{Options: o}), unitCosts())
		return line.Makespan()
	}
	require.Equal(t, 31.0, makespan(Options{}, l))
	require.Equal(t, 26.0, makespan(Options{SharedInGap: true}, l), "the shared expert runs during the dispatch")
	l[schedule.Shared] = schedule.Work{}
	// One batch after the other would take 52. Dense, router of the second run during the first's
	// dispatch; its counts and rows follow on the link, which is then busy from 3 to the end, but
	// for the first micro-batch's dense part.
	require.Equal(t, 2.0+1+1+8+1+8+8+8, makespan(Options{Batches: 2}, l))
	// Experts work on two of the three messages while the link is busy, and answers leave as soon
	// as it is free.
	require.InDelta(t, 2.0+1+1+8+8, makespan(Options{PerPeer: 3}, l), 1e-9)
}

func TestPlanValidateReportsEveryFault(t *testing.T) {
	layers := []Layer{{schedule.GradReduce: {Starts: 1, Size: 5}}, {schedule.GradReduce: {Starts: 1, Size: 5}}}
	bad := Plan{
		Options: Options{Batches: -1}, ForwardDegrees: []int{1, 2, 3}, BackwardDegrees: []int{0},
		Within: [][]float64{nil, {1}},
	}
	err := bad.Validate(layers)
	for _, says := range []string{
		"3 forward degrees for 2 layers", "backward degree 0; must be at least 1", "Batches -1, PerPeer 0",
		"layer 1 sums gradients of size 1, 1 more than exist by then",
	} {
		require.ErrorContains(t, err, says)
	}
	for says, plan := range map[string]Plan{
		"within 3 and beside 0 layers; there are 2":       {Within: make([][]float64, 3)},
		"a gradient piece of size -1":                     {Beside: [][]float64{{-1}}},
		"layer 0 sums gradients of size 6, 1 more than":   {Within: [][]float64{{6}}},
		"the tail sums gradients of size 11, but 10 are":  {Tail: []float64{11}},
		"the tail sums gradients of size 7, but 6 are":    {Within: [][]float64{{4}}, Tail: []float64{7}},
		"a gradient piece of size NaN":                    {Tail: []float64{nan()}},
		"simulate: 2 backward degrees for 1 layers; want": {BackwardDegrees: []int{1, 1}},
	} {
		some := layers
		if strings.Contains(says, "1 layers") {
			some = layers[:1]
		}
		require.ErrorContains(t, plan.Validate(some), says)
		require.Panics(t, func() { BuildBackward(some, &plan) }, says)
	}
	require.NoError(t, (&Plan{Within: [][]float64{{5}}, Tail: []float64{5}}).Validate(layers))
}

func nan() float64 { return zero / zero }

var zero = 0.0
