// Package sim is a command of bench: it simulates steps of large models on large clusters.
package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

const usage = `usage: go run ./bench sim [flags]              one model on one cluster, with each policy
       go run ./bench sim -scale LIST [flags]  the same on growing clusters
       go run ./bench sim -grid [-check N]     FSMoE's 1458 configurations on both of its testbeds
       go run ./bench sim -table2              FSMoE's measured operations (its table 2)

Simulates training steps: prints each policy's step time and exposed communication, the time in which a rank computes nothing.
What the simulation takes for granted:
  - Every layer is attention and a mixture of experts of two matrices, hidden size -ratio times -dim. Experts are spread over
    the nodes and each is cut among the ranks of its node; attention is too. Each rank has -batch sequences of -seq tokens;
    they grow with the cluster, and the tokens of a rank stay (weak scaling). Backward computes twice what forward does.
  - A rank's all-to-all starts a message to each other node, one after the other, each -alpha; a node's link of -gbps is shared
    evenly by its ranks. All-reduce runs as a ring in 2·log2(nodes) starts. Rows are -bytes a number, gradients 4.
  - Processors reach -tflops. Each rank's computing in a layer and pass takes 1 + noise·|z| times as long, z standard normal; in
    each layer and step one node, another each time, gets -skew times the mean rows; -straggler slows the last rank's computing
    by this factor, -slow-link its link. Plans know nothing of these four.
  - A collective begins when its last rank is ready. Optimizer, embeddings, loss and the communication of attention are left out.

Flags:
`

// options are the flags of sim.
type options struct {
	model   model
	cluster cluster
	degrees []int
	policy  string
	steps   int

	scale                        []int
	grid, table2                 bool
	check                        int
	svgFile, traceFile, jsonFile string
}

// Run is the command "sim".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "sim", err)
	}
	run := o.runOne
	switch {
	case o.grid:
		run = o.runGrid
	case o.table2:
		run = o.runTable2
	case len(o.scale) > 0:
		run = o.runScale
	}
	harness.NewPace(stderr, "sim", 1, o.expected())
	return harness.Conclude(ctx, run(ctx, stdout), stderr)
}

// expected is about how long it takes: 40 ns for a task on a rank, and some seconds for the grid.
func (o *options) expected() (all time.Duration) {
	tasks := 60 * o.model.Layers * max(o.model.Micro, 1) * o.steps * len(simulate.Policies())
	clusters := o.scale
	if len(clusters) == 0 {
		clusters = []int{o.cluster.Nodes * o.cluster.PerNode}
	}
	for _, ranks := range clusters {
		all += harness.Times(ranks*tasks, 40)
	}
	if o.grid {
		all += 5*time.Second + harness.Times(o.check, time.Second/10)
	}
	return all
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	o.model.define(f)
	o.cluster.define(f)
	degrees := f.String("degrees", "1,2,4,8", "numbers of chunks to choose from")
	f.StringVar(&o.policy, "policy", "", "simulate only this policy; its `name` as in the table")
	f.IntVar(&o.steps, "steps", 4, "steps to simulate")
	scale := f.String("scale", "", "numbers of ranks, a `list` with commas between them: simulate each")
	f.BoolVar(&o.grid, "grid", false, "FSMoE's grid")
	f.BoolVar(&o.table2, "table2", false, "FSMoE's table 2")
	f.IntVar(&o.check, "check", 0, "with -grid: compare so many configurations of each testbed with brute force")
	outfile.Var(f, &o.svgFile, "svg", "", "draw the last step of the best policy, or with -scale the curves, into this `file`")
	outfile.Var(f, &o.traceFile, "trace", "", "write the last step of the best policy in Chrome's trace format into this `file`")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcomes to this `file`, one JSON object a line")
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	var faults [2]error
	o.degrees, faults[0] = parseNumbers("-degrees", *degrees)
	o.scale, faults[1] = parseNumbers("-scale", *scale)
	return o, errors.Join(faults[0], faults[1], o.validate())
}

// parseNumbers reads numbers above 0 with commas between them.
func parseNumbers(name, list string) (numbers []int, err error) {
	if list == "" {
		return nil, nil
	}
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s %q: want numbers above 0 with commas between them", name, list)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// validate reports every flag that makes no sense.
func (o *options) validate() error {
	faults := []error{o.model.validate(), o.cluster.validate(&o.model)}
	if o.steps < 1 || o.check < 0 || len(o.degrees) == 0 {
		faults = append(faults, fmt.Errorf("-steps %d, -check %d, %d degrees; want at least 1, 0 and 1", o.steps, o.check, len(o.degrees)))
	}
	if _, err := o.policies(); err != nil {
		faults = append(faults, err)
	}
	for _, n := range o.scale {
		if n%max(1, o.cluster.PerNode) != 0 {
			faults = append(faults, fmt.Errorf("-scale %d: no whole number of nodes of %d ranks", n, o.cluster.PerNode))
		}
	}
	return errors.Join(faults...)
}

// policies returns those to simulate.
func (o *options) policies() ([]simulate.Policy, error) {
	all := simulate.Policies()
	if o.policy == "" {
		return all, nil
	}
	i := slices.IndexFunc(all, func(p simulate.Policy) bool { return p.Name == o.policy })
	if i < 0 {
		var names []string
		for _, p := range all {
			names = append(names, strconv.Quote(p.Name))
		}
		return nil, fmt.Errorf("-policy %q: must be one of %s", o.policy, strings.Join(names, ", "))
	}
	return all[i : i+1], nil
}
