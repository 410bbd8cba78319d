package sim

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// TestGridOursIsNeverSlower: over all 1458 configurations of each testbed no policy beats ours, and
// the mean speed-ups over the schedules that FSMoE compares with lie near its own.
func TestGridOursIsNeverSlower(t *testing.T) {
	if testing.Short() {
		t.Skip("computes for a long time")
	}
	for _, bed := range testbeds() {
		g := runTestbed(t.Context(), &bed, simulate.DefaultDegrees())
		require.Equal(t, 1458, g.Configs)
		means := map[string]float64{}
		for _, r := range g.Rows {
			require.GreaterOrEqual(t, r.Least, 1-1e-9, "%s on testbed %s", r.Policy, bed.name)
			require.GreaterOrEqual(t, r.Mean, r.Least)
			require.GreaterOrEqual(t, r.Most, r.Mean)
			means[r.Policy] = r.Mean
		}
		require.Greater(t, g.Differ, 200, "forward and backward want different degrees")
		for _, of := range []string{"DeepSpeed-MoE", "Tutel", "PipeMoE"} {
			require.Greater(t, means[of], 1.05, "%s on testbed %s", of, bed.name)
			require.Less(t, means[of], 1.5)
		}
	}
}

// TestChooseIsNearBruteForce on 200 configurations, half on each testbed, over degrees and cuts of
// the gradients.
func TestChooseIsNearBruteForce(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 10
	}
	for _, bed := range []testbed{testbeds()[0], testbeds()[2]} {
		ratio, config := worstOfSample(t.Context(), &bed, []int{1, 2, 4}, n)
		require.Positive(t, ratio)
		require.LessOrEqual(t, ratio, 1.01, "%v on testbed %s", config, bed.name)
	}
}

// TestTable2TakesTheMeasuredTimes: without overlap a layer takes the sum of what FSMoE measured,
// most of it on links, and ours is the fastest.
func TestTable2TakesTheMeasuredTimes(t *testing.T) {
	for _, m := range table2() {
		measured := m.forward.sum() + m.backward.sum()
		require.Greater(t, (m.forward.communication()+m.backward.communication())/measured, 0.5, "%s: FSMoE's section 1", m.name)
		times := map[string]float64{}
		for _, p := range simulate.Policies() {
			times[p.Name], _ = m.step(p, simulate.DefaultDegrees(), 1)
			require.GreaterOrEqual(t, times[p.Name], times["DeepSpeed-MoE"]/3)
		}
		require.InEpsilon(t, measured, times["DeepSpeed-MoE"], 1e-9, m.name)
		for name, ms := range times {
			require.LessOrEqual(t, times["ours"], ms*(1+1e-9), "%s: %s", m.name, name)
		}
	}
}

func TestGridOfTestbeds(t *testing.T) {
	bed := testbeds()[2]
	grid := bed.grid()
	require.Len(t, grid, 1458)
	seen := map[gridConfig]bool{}
	for _, c := range grid {
		require.False(t, seen[c])
		seen[c] = true
		require.Contains(t, bed.lengths, c.length)
	}
	// B=1, L=256, M=1024, H/M=2, f=1.2, simple: k·f·B·L·M = 629145.6 numbers, a quarter of them to
	// each GPU.
	l := bed.layer(grid[0])
	require.InDelta(t, 629145.6, l[schedule.Gather].Size, 1e-6)
	require.InDelta(t, 629145.6/4, l[schedule.Dispatch].Size, 1e-6)
	require.InDelta(t, 629145.6*2048*2/4, l[schedule.Expert].Size, 1e-3)
	require.InDelta(t, (4*1024*1024+3*1024)/4.0+1024, l[schedule.GradReduce].Size, 1e-6)
}

func TestOneEndToEnd(t *testing.T) {
	dir := t.TempDir()
	picture, trace, rows := filepath.Join(dir, "a.svg"), filepath.Join(dir, "a.json"), filepath.Join(dir, "rows.json")
	code, stdout, stderr := benchtest.Call(t, Run, "-nodes", "2", "-per-node", "2", "-layers", "2", "-shared", "1", "-micro", "2", "-straggler", "1.5", "-slow-link", "2",
		"-svg", picture, "-trace", trace, "-json", rows)
	require.Zero(t, code, stderr)
	for _, says := range []string{"4 ranks, 2 layers, 4096 tokens a rank", "| DeepSpeed-MoE ", "| ours ", "compute  ", "s shared"} {
		require.Contains(t, stdout, says)
	}
	for file, says := range map[string]string{picture: "<svg", trace: `"traceEvents"`} {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(data), says)
	}
	data, err := os.ReadFile(rows)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	require.Len(t, lines, len(simulate.Policies()))
	for _, line := range lines {
		var s simulated
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		require.Equal(t, 4, s.Ranks)
		require.Greater(t, s.StepMS, s.ExposedMS)
		require.Positive(t, s.ExposedMS)
		require.Len(t, s.ForwardR, 2)
	}
	code, again, _ := benchtest.Call(t, Run, "-nodes", "2", "-per-node", "2", "-layers", "2", "-shared", "1", "-micro", "2", "-straggler", "1.5", "-slow-link", "2")
	require.Zero(t, code)
	require.Equal(t, stdout, again, "the same command simulates the same")
}

// TestScale: with the same tokens a rank, larger clusters take longer, and the picture shows
// every size.
func TestScale(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "scale.svg")
	code, stdout, stderr := benchtest.Call(t, Run, "-scale", "16,64,256", "-layers", "2", "-steps", "1", "-policy", "ours", "-svg", picture)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "Simulated, not measured: 2 layers of dimension 2048")
	require.Contains(t, stdout, "256: ours")
	data, err := os.ReadFile(picture)
	require.NoError(t, err)
	for _, says := range []string{"step time, ms", "exposed communication, ms", ">256<"} {
		require.Contains(t, string(data), says)
	}
	o, err := parse([]string{"-layers", "2", "-steps", "1", "-policy", "ours"}, nil)
	require.NoError(t, err)
	last := 0.0
	for _, nodes := range []int{2, 8, 64, 512} {
		o.cluster.Nodes = nodes
		s, err := o.simulate(o.cluster)
		require.NoError(t, err)
		require.Greater(t, s[0].StepMS, last)
		last = s[0].StepMS
	}
}

func TestFlagsReachTheModel(t *testing.T) {
	step := func(args ...string) float64 {
		o, err := parse(append([]string{"-layers", "2", "-nodes", "4", "-steps", "2", "-policy", "ours"}, args...), nil)
		require.NoError(t, err)
		s, err := o.simulate(o.cluster)
		require.NoError(t, err)
		return s[0].StepMS
	}
	base := step()
	for _, slower := range [][]string{
		{"-dim", "4096"}, {"-ratio", "8"}, {"-k", "3"}, {"-seq", "2048"}, {"-batch", "8"}, {"-bytes", "4"}, {"-shared", "1"}, {"-layers", "3"},
		{"-alpha", "500"}, {"-gbps", "100"}, {"-intra-gbps", "100"}, {"-intra-alpha", "900"}, {"-launch", "500"}, {"-tflops", "20"},
		{"-noise", "0.5"}, {"-skew", "3"}, {"-straggler", "4"}, {"-slow-link", "4"}, {"-experts", "100000"},
	} {
		require.Greater(t, step(slower...), base, slower)
	}
	require.NotEqual(t, base, step("-micro", "2"))
	require.NotEqual(t, base, step("-per-peer", "2"))
	require.NotEqual(t, base, step("-seed", "2"))
	require.Greater(t, step("-degrees", "1"), base)
}

// TestLoadIsEvenOnAverage: what the loaded node gets, the others lack.
func TestLoadIsEvenOnAverage(t *testing.T) {
	c := cluster{Nodes: 4, PerNode: 2, Skew: 2.5, Seed: 3}
	for layer := range 10 {
		sum := 0.0
		for rank := range 8 {
			sum += c.load(0, layer, rank)
		}
		require.InDelta(t, 8, sum, 1e-9)
	}
}

func TestRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		`-policy "magic": must be one of "DeepSpeed-MoE"`:         {"-policy", "magic"},
		`-degrees "0": want numbers above 0`:                      {"-degrees", "0"},
		"-layers 0; must be at least 1":                           {"-layers", "0"},
		"-tflops 0; must be above 0":                              {"-tflops", "0"},
		"-skew 0.5; must be at least 1":                           {"-skew", "0.5"},
		"-experts 3 for 8 nodes; every node must have one":        {"-experts", "3"},
		"-k 9 of 8 experts":                                       {"-experts", "8", "-k", "9"},
		"-scale 63: no whole number of nodes of 8 ranks":          {"-scale", "63"},
		`"left": sim takes flags only`:                            {"left"},
		"-steps 0, -check 0, 4 degrees; want at least 1, 0 and 1": {"-steps", "0"},
		"-nodes 0, -per-node 8; must be at least 1":               {"-nodes", "0"},
		"-ratio -1, -bytes 2; must be above 0":                    {"-ratio", "-1"},
	} {
		code, _, stderr := benchtest.Call(t, Run, args...)
		require.Equal(t, harness.Misused, code, args)
		require.Contains(t, stderr, says)
	}
	code, stdout, _ := benchtest.Call(t, Run, "-h")
	require.Zero(t, code)
	require.Contains(t, stdout, "What the simulation takes for granted")
	code, stdout, _ = benchtest.Call(t, Run, "-table2")
	require.Zero(t, code)
	require.Contains(t, stdout, "B, Mixtral: 520.6 ms one after the other, 60% of it communication")
}

// TestTraceKeepsEverySlice for a reader that makes nanoseconds of a start and of a duration apart
// and drops slices that begin before the one before them on the thread has ended, as Perfetto does.
func TestTraceKeepsEverySlice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace.json")
	code, _, stderr := benchtest.Call(t, Run, "-trace", file)
	require.Zero(t, code, stderr)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var trace struct {
		Events []struct {
			Phase  string  `json:"ph"`
			Thread int     `json:"tid"`
			Time   float64 `json:"ts"`
			Dur    float64 `json:"dur"`
		} `json:"traceEvents"`
	}
	require.NoError(t, json.Unmarshal(data, &trace))
	for name, read := range map[string]func(float64) float64{"rounded": math.Round, "cut off": math.Trunc} {
		ends, slices := map[int]float64{}, 0
		for _, e := range trace.Events {
			if e.Phase != "X" {
				continue
			}
			slices++
			start := read(e.Time * 1000)
			require.GreaterOrEqual(t, start, ends[e.Thread], "%s: a slice of thread %d at %v µs", name, e.Thread, e.Time)
			ends[e.Thread] = start + read(e.Dur*1000)
		}
		require.Greater(t, slices, 100)
	}
}
