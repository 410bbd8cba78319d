package sim

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
	"github.com/switchyard-moe/switchyard/schedule/trace"
)

// simulated is what one policy came to on one cluster.
type simulated struct {
	Policy    string  `json:"policy"`
	Ranks     int     `json:"ranks"`
	StepMS    float64 `json:"step_ms"`
	ExposedMS float64 `json:"exposed_ms"`
	ForwardR  []int   `json:"forward_degrees"`
	BackwardR []int   `json:"backward_degrees"`
	Model     model   `json:"model"`
	Cluster   cluster `json:"cluster"`
	timelines []schedule.Timeline
}

// simulate runs the policies on the cluster.
func (o *options) simulate(c cluster) ([]simulated, error) {
	policies, err := o.policies()
	if err != nil {
		return nil, err
	}
	layers, costs, world := o.model.layers(&c), c.costs(), c.world()
	var out []simulated
	for _, p := range policies {
		plan := p.Plan(layers, costs, o.degrees, o.model.options())
		run := world.Simulate(simulate.BuildStep(layers, &plan), o.steps)
		s := simulated{
			Policy: p.Name, Ranks: c.Nodes * c.PerNode, StepMS: 1e3 * run.StepTime, ExposedMS: 1e3 * run.Exposed,
			Model: o.model, Cluster: c, timelines: run.Timelines,
		}
		for i := range layers {
			s.ForwardR = append(s.ForwardR, plan.Degree(schedule.Forward, i))
			s.BackwardR = append(s.BackwardR, plan.Degree(schedule.Backward, i))
		}
		out = append(out, s)
	}
	return out, nil
}

// fastest returns the first of those with the least step time.
func fastest(all []simulated) simulated {
	return slices.MinFunc(all, func(a, b simulated) int {
		switch {
		case a.StepMS < b.StepMS:
			return -1
		case a.StepMS > b.StepMS:
			return 1
		}
		return 0
	})
}

// runOne simulates one cluster.
func (o *options) runOne(_ context.Context, stdout io.Writer) error {
	all, err := o.simulate(o.cluster)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d ranks, %d layers, %d tokens a rank, %d steps\n\n", all[0].Ranks, o.model.Layers, o.model.Seq*o.model.Batch, o.steps)
	writeSimulated(stdout, all)
	best := fastest(all)
	title := fmt.Sprintf("%s: one step of rank 0 of %d, %.4g ms a step", best.Policy, best.Ranks, best.StepMS)
	fmt.Fprintf(stdout, "\n%s\n%s", title, trace.Gantt(&best.timelines[0], 110))
	tracks := []trace.Track{{Rank: 0, Line: best.timelines[0]}}
	if o.svgFile != "" {
		if err := outfile.Write(o.svgFile, func(w io.Writer) error { return trace.WriteSVG(w, title, tracks) }); err != nil {
			return err
		}
	}
	if o.traceFile != "" {
		if err := outfile.Write(o.traceFile, func(w io.Writer) error { return trace.WriteJSON(w, tracks) }); err != nil {
			return err
		}
	}
	return o.saveSimulated(all)
}

// writeSimulated writes outcomes as a table.
func writeSimulated(w io.Writer, all []simulated) {
	fmt.Fprintf(w, "| %-14s | ranks | step ms | exposed ms | exposed | forward degrees | backward degrees |\n", "policy")
	fmt.Fprintf(w, "|:---------------|------:|--------:|-----------:|--------:|----------------:|-----------------:|\n")
	for _, s := range all {
		fmt.Fprintf(w, "| %-14s | %5d | %7.1f | %10.1f | %6.0f%% | %15s | %16s |\n",
			s.Policy, s.Ranks, s.StepMS, s.ExposedMS, 100*s.ExposedMS/s.StepMS, degreesUsed(s.ForwardR), degreesUsed(s.BackwardR))
	}
}

// degreesUsed names the degrees that occur.
func degreesUsed(all []int) string {
	s := ""
	for i, d := range slices.Compact(slices.Sorted(slices.Values(all))) {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprint(d)
	}
	return s
}

// saveSimulated writes the JSON file, if one was asked for.
func (o *options) saveSimulated(all []simulated) error {
	return harness.WriteJSONLines(o.jsonFile, all)
}
