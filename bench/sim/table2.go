package sim

import (
	"context"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// measuredOps is a row of FSMoE's table 2: milliseconds of each operation in one layer, not cut, of
// 4 sequences of 1024 tokens.
type measuredOps struct {
	a2a, allReduce, gather, scatter, experts, routing, order, attention float64
}

// measuredModel is the two rows of a model on a testbed.
type measuredModel struct {
	name              string
	testbed           int // in testbeds()
	gemms             float64
	forward, backward measuredOps
}

// table2 is FSMoE's table 2. a2a is either of the two all-to-alls' time; the table does not say
// that it is the sum.
func table2() []measuredModel {
	return []measuredModel{
		{"A, GPT2-XL", 0, 2, measuredOps{6.9, 0, 4.6, 5.4, 3.1, .1, .3, 1.7}, measuredOps{6.9, 5.26, 4.6, 5.4, 6.1, .1, .4, 3.6}},
		{"A, Mixtral", 0, 3, measuredOps{19.5, 0, 12.3, 13.7, 15.6, .1, .3, 4.1}, measuredOps{19.6, 26.45, 12.3, 13.7, 31.8, .1, .5, 7.7}},
		{"B, GPT2-XL", 2, 2, measuredOps{11.2, 0, 15.5, 15.7, 6.7, .1, .3, 4.5}, measuredOps{11.2, 7.3, 15.5, 15.2, 13, .1, .3, 8.6}},
		{"B, Mixtral", 2, 3, measuredOps{28.3, 0, 39.6, 40.8, 58.5, .1, .7, 9.5}, measuredOps{30.8, 32.1, 40.1, 41.8, 119.7, .2, 1.2, 18.1}},
	}
}

// sum is the layer's time if nothing overlaps.
func (o measuredOps) sum() float64 {
	return o.communication() + o.experts + o.routing + o.order + o.attention
}

// communication is what of it is spent on links.
func (o measuredOps) communication() float64 { return 2*o.a2a + o.allReduce + o.gather + o.scatter }

// costs returns costs by which a layer's size is in milliseconds, with the starts of the testbed.
func (m *measuredModel) costs() *schedule.Costs {
	c := *testbeds()[m.testbed].costs()
	for op := range c {
		c[op].Beta = 1
	}
	return &c
}

// layer returns work that takes the measured times in the given pass.
func (m *measuredModel) layer(pass schedule.Pass) simulate.Layer {
	costs, ops, double := m.costs(), m.forward, 1.0
	if pass == schedule.Backward {
		ops, double = m.backward, 2 // the graph doubles what computes
	}
	work := func(op schedule.Op, starts, ms, times float64) schedule.Work {
		return schedule.Work{Starts: starts, Size: ms/times - starts*costs[op].Alpha}
	}
	l := simulate.Layer{
		schedule.Dense:    work(schedule.Dense, 4, ops.attention, double),
		schedule.Route:    work(schedule.Route, 0, ops.routing+ops.order, double),
		schedule.Dispatch: work(schedule.Dispatch, 1, ops.a2a, 1),
		schedule.Gather:   work(schedule.Gather, 1, ops.gather, 1),
		schedule.Expert:   work(schedule.Expert, m.gemms, ops.experts, double),
		schedule.Scatter:  work(schedule.Scatter, 1, ops.scatter, 1),
		schedule.Combine:  work(schedule.Combine, 1, ops.a2a, 1),
	}
	if ops.allReduce > 0 {
		l[schedule.GradReduce] = work(schedule.GradReduce, 1, ops.allReduce, 1)
	}
	return l
}

// step returns how long a policy takes for a step of n layers, which it plans by the times measured
// in backward.
func (m *measuredModel) step(p simulate.Policy, degrees []int, n int) (ms float64, plan simulate.Plan) {
	forward, backward := make([]simulate.Layer, n), make([]simulate.Layer, n)
	for i := range n {
		forward[i], backward[i] = m.layer(schedule.Forward), m.layer(schedule.Backward)
	}
	costs := m.costs()
	plan = p.Plan(backward, costs, degrees, simulate.Options{})
	one := simulate.Plan{Options: plan.Options, ForwardDegrees: plan.ForwardDegrees}
	f, b := schedule.Simulate(simulate.BuildForward(forward, &one), costs), schedule.Simulate(simulate.BuildBackward(backward, &plan), costs)
	return f.Makespan() + b.Makespan(), plan
}

// runTable2 prints each model with each policy.
func (o *options) runTable2(_ context.Context, stdout io.Writer) error {
	policies, err := o.policies()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "FSMoE's table 2 as input: %d equal layers, ms a layer in forward and backward\n", gridLayers)
	for _, m := range table2() {
		all := m.forward.sum() + m.backward.sum()
		fmt.Fprintf(stdout, "\n%s: %.1f ms one after the other, %.0f%% of it communication\n\n", m.name, all,
			100*(m.forward.communication()+m.backward.communication())/all)
		fmt.Fprintf(stdout, "| %-14s | ms a layer | speed-up | forward degrees | backward degrees |\n|:---------------|-----------:|---------:|----------------:|-----------------:|\n", "policy")
		for _, p := range policies {
			ms, plan := m.step(p, o.degrees, gridLayers)
			var forward, backward []int
			for i := range gridLayers {
				forward, backward = append(forward, plan.Degree(schedule.Forward, i)), append(backward, plan.Degree(schedule.Backward, i))
			}
			fmt.Fprintf(stdout, "| %-14s | %10.1f | %8.2f | %15s | %16s |\n", p.Name, ms/gridLayers, all*gridLayers/ms, degreesUsed(forward), degreesUsed(backward))
		}
	}
	return nil
}
