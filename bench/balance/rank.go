package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	alloc "github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

const (
	rankArg = harness.RankArg
	port    = 29750
)

// variant is a layer that is timed: with a planner, under a load.
type variant struct{ Who, Load string }

func (v variant) String() string { return v.Who + " under the load " + v.Load }

// plainEven is what all is compared with: the even load without sharing.
var plainEven = variant{"plain", "even"}

// variants are those that are timed in turns with a load: it without sharing and with each planner,
// and the even load without sharing, to compare with.
func (o *options) variants(load string) (list []variant) {
	if load != "even" {
		list = append(list, plainEven)
	}
	for _, who := range o.Planners {
		list = append(list, variant{who, load})
	}
	return list
}

// report is what a rank says at its end.
type report struct {
	Rank    int
	Results []result // of each variant
	Peak    int64    // bytes of memory that the process had at most
}

// result is what a rank saw of a variant.
type result struct {
	Steps   []time.Duration
	Checked uint64      // a number for the bits of all that the last step gave
	Stats   alloc.Stats // of the last step
}

// task is what ranks are told: the variants of one load, or one of them alone to see its memory.
type task struct {
	options
	Variants []variant
	Rounds   int
}

func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	r, err := rank(ctx, args)
	return harness.Answer(ctx, r, err, stdout, stderr)
}

func rank(ctx context.Context, args []string) (r report, err error) {
	var t task
	if r.Rank, err = harness.RankOptions(args, &t); err != nil {
		return r, err
	}
	w, err := netns.Join(ctx, r.Rank, t.Ranks, 1, port)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	run := runner{task: t, world: w}
	if r.Results, err = run.run(ctx); err != nil {
		return r, err
	}
	r.Peak, err = peakBytes()
	return r, err
}

// runner times the variants on one rank.
type runner struct {
	task
	world     *switchyard.World
	x, dy     blas32.General
	decisions map[string][]*router.Decision // of each load, by step
}

// timed is a variant's layer and its gate.
type timed struct {
	layer *switchyard.Layer
	gate  *workload.Turning
}

func (r *runner) run(ctx context.Context) (results []result, err error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	layers, err := r.layers(ctx)
	if err != nil {
		return nil, err
	}
	results = make([]result, len(layers))
	for round := range r.Rounds + warmup {
		for n := range layers { // each round begins with the next one
			i := (n + round) % len(layers)
			took, err := r.step(ctx, layers[i], r.decisions[r.Variants[i].Load][round%r.task.Steps], &results[i])
			if err != nil {
				return nil, fmt.Errorf("%v: %w", r.Variants[i], err)
			}
			if round >= warmup {
				results[i].Steps = append(results[i].Steps, took)
			}
		}
	}
	return results, nil
}

// warmup is the rounds in which layers get their memory, and learn what rows cost.
const warmup = 3

// prepare draws tokens, gradients and decisions.
func (r *runner) prepare() error {
	me := int(r.world.Rank())
	random := rand.New(rand.NewPCG(7, uint64(me)))
	r.x, r.dy = workload.NewMatrix(r.Tokens, r.Dim), workload.NewMatrix(r.Tokens, r.Dim)
	for i := range r.x.Data {
		r.x.Data[i], r.dy.Data[i] = random.Float32()-0.5, random.Float32()-0.5
	}
	r.decisions = map[string][]*router.Decision{}
	for _, v := range r.Variants {
		if r.decisions[v.Load] != nil {
			continue
		}
		l, err := r.load(v.Load)
		if err != nil {
			return err
		}
		for step := range r.task.Steps {
			r.decisions[v.Load] = append(r.decisions[v.Load], l.Decide(me, step, r.Tokens))
		}
	}
	return nil
}

// layers makes those of the variants, which have the same parameters.
func (r *runner) layers(ctx context.Context) (list []timed, err error) {
	var params []switchyard.Tensor
	for i, v := range r.Variants {
		t := timed{gate: &workload.Turning{}}
		if t.layer, err = switchyard.NewLayer(r.world, switchyard.Config{
			Dim: r.Dim, Experts: r.Experts, Group: r.Group, Router: t.gate, Expert: expert.SwiGLU{Hidden: r.Hidden}, Balance: r.balance(v.Who),
		}); err != nil {
			return nil, fmt.Errorf("%v: %w", v, err)
		}
		list = append(list, t)
		switch {
		case i > 0:
			err = t.layer.Load(params)
		case len(r.Variants) > 1:
			params, err = t.layer.Parameters(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// balance is the configuration of a planner: the library's own behind its gate, others always.
func (o *options) balance(who string) alloc.Config {
	c := alloc.Config{Slots: o.Slots}
	switch who {
	case "plain":
	case "balanced":
		c.When = alloc.Auto
	default:
		c.When, c.Planner = alloc.Always, func() alloc.Planner { return planner(who) }
	}
	return c
}

// step is a forward and a backward pass, begun when all are ready.
func (r *runner) step(ctx context.Context, t timed, d *router.Decision, to *result) (took time.Duration, err error) {
	t.gate.Decision = d
	if err := r.world.Comm().Barrier(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	y, err := t.layer.Forward(ctx, r.x)
	if err != nil {
		return 0, err
	}
	between := time.Now()
	to.Checked = bitsOf(y, 0)
	took -= time.Since(between)
	dx, err := t.layer.Backward(ctx, r.dy)
	if err != nil {
		return 0, err
	}
	took += time.Since(begin)
	to.Checked, to.Stats = bitsOf(dx, to.Checked), t.layer.Stats().Balance
	return took, t.layer.Step(ctx, still{})
}

// still is an optimizer that changes nothing.
type still struct{}

func (still) Update(*param.Set, []float32) {}
