// Package plan is a command of bench: it chooses into how many chunks to cut exchanges.
package plan

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

const usage = `usage: go run ./bench plan -in FILE [-json FILE]

Chooses into how many chunks to cut exchanges. FILE holds a list of exchanges, each with
  "a2a", "ag", "rs", "exp"  the cost of dispatch and combine, all-gather, reduce-scatter and experts, as
                            {"alpha": ms, "beta": ms a unit, "n": units}: one of r chunks takes alpha + beta·n/r
  "gar"                     ms of gradient all-reduce right after the last dispatch; 0 or left out: none
  "degrees"                 the numbers of chunks to choose from
The links between nodes (a2a, gar), within nodes (ag, rs) and the processor (exp) work at the same time.

For each exchange there is {"ms": [how long it takes with each degree], "choice": the best degree}; of equally good ones the
first.

Flags:
`

// planCase is one exchange to plan.
type planCase struct {
	A2A     *planOp `json:"a2a"`
	AG      *planOp `json:"ag"`
	RS      *planOp `json:"rs"`
	Exp     *planOp `json:"exp"`
	GAR     float64 `json:"gar"`
	Degrees []int   `json:"degrees"`
}

// planOp is the cost of an operation and its size.
type planOp struct {
	Alpha float64 `json:"alpha"`
	Beta  float64 `json:"beta"`
	N     float64 `json:"n"`
}

// result is what is chosen for a case.
type result struct {
	MS     []float64 `json:"ms"`
	Choice int       `json:"choice"`
}

// Run is the command "plan".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("plan", flag.ContinueOnError)
	in := f.String("in", "", "read the exchanges from this `file`")
	var out string
	outfile.Var(f, &out, "json", "", "write the results to this `file`; default is the standard output")
	err := harness.ParseFlags(f, usage, args, stdout)
	if err == nil && *in == "" {
		err = errors.New("-in must name a file")
	}
	if err != nil {
		return harness.NotRun(stderr, "plan", err)
	}
	harness.NewPace(stderr, "plan", 1, time.Second)
	return harness.Conclude(ctx, file(*in, out, stdout), stderr)
}

// file plans what a file holds.
func file(in, out string, stdout io.Writer) error {
	data, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var cases []planCase
	if err := json.Unmarshal(data, &cases); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	results := make([]result, len(cases))
	for i := range cases {
		if err := cases[i].validate(); err != nil {
			return fmt.Errorf("%s: exchange %d: %w", in, i, err)
		}
		results[i] = cases[i].plan()
	}
	data, err = json.Marshal(results)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if out == "" {
		_, err = stdout.Write(data)
		return err
	}
	return outfile.WriteBytes(out, data)
}

// validate reports everything that makes no schedule.
func (c *planCase) validate() error {
	var faults []error
	for name, op := range map[string]*planOp{"a2a": c.A2A, "ag": c.AG, "rs": c.RS, "exp": c.Exp} {
		if op == nil {
			faults = append(faults, fmt.Errorf("%s is missing", name))
			continue
		}
		for _, v := range []float64{op.Alpha, op.Beta, op.N} {
			if !(v >= 0) || math.IsInf(v*op.N, 0) {
				faults = append(faults, fmt.Errorf("%s: alpha %v, beta %v, n %v; must not be negative", name, op.Alpha, op.Beta, op.N))
				break
			}
		}
	}
	if !(c.GAR >= 0) {
		faults = append(faults, fmt.Errorf("gar %v; must not be negative", c.GAR))
	}
	if len(c.Degrees) == 0 {
		faults = append(faults, errors.New("degrees: want at least one"))
	}
	for _, d := range c.Degrees {
		if d < 1 || d > maxDegree {
			faults = append(faults, fmt.Errorf("degree %d; must be 1 to %d", d, maxDegree))
		}
	}
	return errors.Join(faults...)
}

// maxDegree bounds the memory that a graph takes.
const maxDegree = 1 << 16

// plan simulates every degree.
func (c *planCase) plan() result {
	work := func(op *planOp) schedule.Work { return schedule.Work{Starts: 1, Size: op.N} }
	line := func(op *planOp) schedule.Linear { return schedule.Linear{Alpha: op.Alpha, Beta: op.Beta} }
	layer := simulate.Layer{
		schedule.Dispatch: work(c.A2A), schedule.Gather: work(c.AG), schedule.Expert: work(c.Exp), schedule.Scatter: work(c.RS), schedule.Combine: work(c.A2A),
	}
	costs := schedule.Costs{
		schedule.Dispatch: line(c.A2A), schedule.Gather: line(c.AG), schedule.Scatter: line(c.RS), schedule.Combine: line(c.A2A),
		schedule.GradReduce: {Alpha: c.GAR},
	}
	// The graph of a backward pass has a place for gradients; the experts' costs are given as they
	// are, so its second helping of experts is taken back.
	costs[schedule.Expert] = schedule.Linear{Alpha: c.Exp.Alpha / 2, Beta: c.Exp.Beta / 2}
	r := result{MS: make([]float64, len(c.Degrees))}
	for i, d := range c.Degrees {
		p := simulate.Plan{BackwardDegrees: []int{d}}
		if c.GAR > 0 {
			p.Within = [][]float64{{0}} // one start, which costs GAR
		}
		line := schedule.Simulate(simulate.BuildBackward([]simulate.Layer{layer}, &p), &costs)
		r.MS[i] = line.Makespan()
	}
	r.Choice = c.Degrees[simulate.Least(r.MS)]
	return r
}
