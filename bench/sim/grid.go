package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// gridLayers is how many equal layers are simulated for a configuration, so that gradients have
// layers to hide behind.
const gridLayers = 4

// paperSpeedup is by how much FSMoE is faster than others in the means of its table 5, on testbeds
// A and B; its Tutel includes PipeMoE, and its "Tutel-Improved" hides gradients behind the dense
// parts.
var paperSpeedup = map[string][2]float64{
	"PipeMoE": {1.18, 1.22}, "PipeMoE+dense": {1.18 / 1.09, 1.22 / 1.08}, "one stream": {1.18 / 1.12, 1.22 / 1.16},
}

// gridOutcome is how the policies compare over the grid of a testbed.
type gridOutcome struct {
	Testbed string         `json:"testbed"`
	Configs int            `json:"configs"`
	Rows    []gridStanding `json:"policies"`
	// Differ is in how many configurations ours has different degrees in forward and backward.
	Differ int `json:"degrees_differ"`
	took   time.Duration
}

// gridStanding is one policy's time over ours.
type gridStanding struct {
	Policy string  `json:"policy"`
	Mean   float64 `json:"mean"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// runTestbed simulates one step of every configuration with every policy. Configurations that
// differ in heads only are computed once and count as often as they stand in the grid.
func runTestbed(ctx context.Context, bed *testbed, degrees []int) gridOutcome {
	began := time.Now()
	policies, costs := simulate.Policies(), bed.costs()
	out := gridOutcome{Testbed: bed.name}
	known := map[gridConfig]gridTimes{}
	for _, config := range bed.grid() {
		if ctx.Err() != nil {
			break // with what is known of those before
		}
		config.heads = 0
		t, ok := known[config]
		if !ok {
			t = bed.times(config, policies, costs, degrees)
			known[config] = t
		}
		out.add(t, policies)
	}
	for i := range out.Rows {
		out.Rows[i].Mean /= float64(out.Configs)
	}
	out.took = time.Since(began)
	return out
}

// gridTimes is the step time of each policy, ours last, and whether ours has different degrees in
// the two passes.
type gridTimes struct {
	step   []float64
	differ bool
}

func (t *testbed) times(c gridConfig, policies []simulate.Policy, costs *schedule.Costs, degrees []int) (out gridTimes) {
	layers := t.stack(c, gridLayers)
	for _, p := range policies {
		plan := p.Plan(layers, costs, degrees, simulate.Options{})
		out.step = append(out.step, stepMS(layers, costs, &plan))
		// the last to set it is ours
		out.differ = plan.Degree(schedule.Forward, 0) != plan.Degree(schedule.Backward, 0)
	}
	return out
}

// stack returns n equal layers.
func (t *testbed) stack(c gridConfig, n int) []simulate.Layer {
	layers := make([]simulate.Layer, n)
	for i := range layers {
		layers[i] = t.layer(c)
	}
	return layers
}

// stepMS simulates a step of a plan on one rank, in the costs' unit.
func stepMS(layers []simulate.Layer, costs *schedule.Costs, plan *simulate.Plan) float64 {
	line := schedule.Simulate(simulate.BuildStep(layers, plan), costs)
	return line.Makespan()
}

// add counts one configuration.
func (o *gridOutcome) add(t gridTimes, policies []simulate.Policy) {
	o.Configs++
	if t.differ {
		o.Differ++
	}
	ours := t.step[len(t.step)-1]
	for i, p := range policies {
		ratio := t.step[i] / ours
		if o.Configs == 1 {
			o.Rows = append(o.Rows, gridStanding{Policy: p.Name, Least: ratio})
		}
		r := &o.Rows[i]
		r.Mean, r.Least, r.Most = r.Mean+ratio, min(r.Least, ratio), max(r.Most, ratio)
	}
}

// runGrid simulates all testbeds.
func (o *options) runGrid(ctx context.Context, stdout io.Writer) error {
	fmt.Fprintf(stdout, "FSMoE's grid (table 4) with its costs (figure 5): a step of %d equal layers, time over ours.\nThe last column is FSMoE's own mean speed-up, of its table 5, where Tutel includes PipeMoE.\n", gridLayers)
	var all []gridOutcome
	for i, bed := range testbeds() {
		g := runTestbed(ctx, &bed, o.degrees)
		if g.Configs == 0 {
			break
		}
		all = append(all, g)
		g.write(stdout, i)
		if o.check > 0 && ctx.Err() == nil {
			ratio, config := worstOfSample(ctx, &bed, o.degrees, o.check)
			fmt.Fprintf(stdout, "Ours over brute force, worst of %d configurations: %.4f (%v)\n", o.check, ratio, config)
		}
	}
	return errors.Join(harness.WriteJSONLines(o.jsonFile, all), context.Cause(ctx))
}

// write writes a testbed's table.
func (o *gridOutcome) write(w io.Writer, testbed int) {
	fmt.Fprintf(w, "\nTestbed %s, %d configurations, %d with different degrees in forward and backward (%.1f s)\n\n", o.Testbed, o.Configs, o.Differ, o.took.Seconds())
	fmt.Fprintf(w, "| %-14s |  mean | least |  most | FSMoE's mean |\n|:---------------|------:|------:|------:|-------------:|\n", "policy")
	for _, r := range o.Rows {
		paper := "-"
		if p, ok := paperSpeedup[r.Policy]; ok {
			paper = fmt.Sprintf("%.2f", p[min(1, testbed/2)]) // A and "A as printed", then B
		}
		fmt.Fprintf(w, "| %-14s | %5.3f | %5.3f | %5.3f | %12s |\n", r.Policy, r.Mean, r.Least, r.Most, paper)
	}
}
