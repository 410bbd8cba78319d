package switchyard

import (
	"context"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

// State lists all that this rank needs to go on with the layer after the last Step with the same
// bits: its parameters, what the optimizer o keeps for them, and counters. Package checkpoint saves
// and loads it, on any number of ranks. o is the optimizer of Step, which must be an
// [expert.Stateful]; nil leaves its state out.
//
// Entries are called "gate.", "experts.17.", "shared." and "compression." followed by the name that
// the router or the expert has for the tensor; "balance.bias", the bias of a gate that evens its
// load; "optimizer.experts.17.w_up.m", the moment m of a tensor, and
// "optimizer.experts.beta1_power", what the optimizer keeps for all experts; "counters.steps", the
// number of steps, by which noise, schedules and compression go. Experts are numbered over all
// ranks, and a rank lists those that it hosts. The rest every rank lists, but for
// "compression.depth", the control loop of lsh.Controlled, which follows the rows of one rank,
// "compression.error", by which [Compression].MaxError decides, and "sums.gate" and the like, what
// [Config].Sums has lost on one rank: these are [param.Entry].Local.
//
// Tensors of float32 are in the memory of their owners. Numbers are copies: call State for each
// save, or get an error, and Loaded of the same State after a load. It is an error to call it while
// a pass is in flight or gradients wait.
//
// Of frozen parameters it has what the optimizer holds already, and a load takes what the
// checkpoint has: call SetFrozen as before the save, then load, then thaw. No part of it: settings,
// the seed among them, with which a layer has to be built as before; the degree that [Overlap.Auto]
// has found, which changes no bit (see [Layer.OverlapProfile]); and what [CompressAuto] has timed.
func (l *Layer) State(o expert.Optimizer) (state *param.State, err error) {
	err = l.atBoundary("State", func() error {
		state, err = l.state(o)
		return err
	})
	return state, err
}

func (l *Layer) state(o expert.Optimizer) (*param.State, error) {
	stateful, err := parameters.Stateful(o)
	if err != nil {
		return nil, err
	}
	list := l.table.List(stateful)
	steps := []int64{int64(l.stages.Shape.Step)}
	list.Add(param.Entry{Name: "counters.steps", Role: param.Training, Data: steps})
	list.OnLoad(func() error { return l.setSteps(steps[0]) })
	list.OnSave(func() error {
		if now := l.stages.Shape.Step; int64(now) != steps[0] {
			return parameters.Changed("counters.steps", steps[0], now)
		}
		return nil
	})
	l.stages.Compression.List(list)
	l.stages.Gradients.List(list)
	state, err := list.State()
	if err != nil {
		return nil, err
	}
	takeOver, current := state.Loaded, state.Current
	state.Current = func() error { return l.atBoundary("State.Current", current) }
	state.Loaded = func() error {
		return l.atBoundary("State.Loaded", takeOver)
	}
	return state, nil
}

// atBoundary runs do between two steps.
func (l *Layer) atBoundary(op string, do func() error) error {
	if err := l.guard.EnterAll(context.Background(), op); err != nil {
		return err
	}
	defer l.guard.Leave()
	if err := l.guard.CheckBoundary(op); err != nil {
		return err
	}
	if err := do(); err != nil {
		return l.guard.Misuse(op, "%w", err)
	}
	return nil
}

// setSteps sets the number of steps taken.
func (l *Layer) setSteps(n int64) error {
	if n < 0 || n > math.MaxInt {
		return fmt.Errorf("counters.steps is %d, want 0 to %d", n, math.MaxInt)
	}
	l.stages.Shape.Step = int(n)
	l.stages.Balance.Changed() // with all else
	return nil
}
