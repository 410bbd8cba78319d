package switchyard

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

// Dense is the parameters of a program's own that every rank holds, beside those of its layers:
// embeddings, attention, norms. A method that is called while another goroutine is in one returns
// [ErrInUse] and does nothing.
type Dense struct {
	world     *World
	guard     *lifecycle.Guard
	gradients *gradients.Dense // of the passes since the last step
}

// NamedSet is a set of parameters under a name.
type NamedSet struct {
	// Name is what the tensors' names begin with in a checkpoint: "embed" makes "embed.w" of "w".
	Name string
	Set  *param.Set
}

// NewDense groups sets of parameters, which the program goes on using; a set that it freezes
// ([param.Set].Frozen) it freezes on every rank, between two steps. Every rank gives the same sets
// in the same order. It is an error if two tensors would have one name.
func NewDense(world *World, sets ...NamedSet) (*Dense, error) {
	if world == nil || world.t == nil {
		return nil, errors.New("switchyard: NewDense: the world was not made by Join or NewWorld")
	}
	cfg := gradients.DenseConfig{World: world.comm, Joined: world.views.Joined}
	for _, s := range sets {
		cfg.Names, cfg.Sets = append(cfg.Names, s.Name), append(cfg.Sets, s.Set)
	}
	d := &Dense{world: world, gradients: gradients.NewDense(cfg), guard: lifecycle.New(lifecycle.Config{
		Rank:  world.views.Joined(world.Rank()),
		Begin: func(string) func(error) error { return func(err error) error { return err } },
		Ended: func(error) {}, Name: "these parameters", Sums: "SumGradients",
	})}
	err := cfg.Check()
	if err == nil {
		_, err = d.list(nil).State()
	}
	if err != nil {
		return nil, errtext.Errorf("switchyard: NewDense: %w", err)
	}
	return d, nil
}

// State lists the values, and what the optimizer o keeps for them, as [Layer.State] does:
// "embed.w", "optimizer.embed.w.m" and "optimizer.embed.beta1_power". It is an error to call it
// while gradients wait.
func (d *Dense) State(o expert.Optimizer) (*param.State, error) {
	const op = "Dense.State"
	if err := d.enter(op); err != nil {
		return nil, err
	}
	defer d.guard.Leave()
	stateful, err := parameters.Stateful(o)
	if err != nil {
		return nil, d.guard.Misuse(op, "%w", err)
	}
	state, err := d.list(stateful).State()
	if err != nil {
		return nil, d.guard.Misuse(op, "%w", err)
	}
	takeOver, current := state.Loaded, state.Current
	state.Loaded = func() error { return d.atBoundary(op+".Loaded", takeOver) }
	state.Current = func() error { return d.atBoundary(op+".Current", current) }
	return state, nil
}

// atBoundary runs do between two steps.
func (d *Dense) atBoundary(op string, do func() error) error {
	if err := d.enter(op); err != nil {
		return err
	}
	defer d.guard.Leave()
	if err := do(); err != nil {
		return d.guard.Misuse(op, "%w", err)
	}
	return nil
}

func (d *Dense) list(o expert.Stateful) *parameters.Lister {
	l := parameters.NewLister(int(d.world.Rank()), d.world.Size(), 0, o)
	d.gradients.List(l)
	return l
}

// enter begins a method that is to be called between two steps. Without an error the caller must
// call LeaveAll.
func (d *Dense) enter(op string) error {
	if err := d.made(op); err != nil {
		return err
	}
	if err := d.guard.EnterAll(context.Background(), op); err != nil {
		return err
	}
	err := d.guard.CheckBoundary(op)
	if waits := d.gradients.Waiting(); err == nil && waits != "" {
		err = d.guard.Misuse(op, "gradients of %q wait; take the step first, or call DiscardGradients", waits)
	}
	if err != nil {
		d.guard.Leave()
	}
	return err
}

// made returns an error unless NewDense has made d.
func (d *Dense) made(op string) error {
	if d == nil || d.guard == nil {
		return fmt.Errorf("switchyard: %s: the parameters were not grouped by NewDense", op)
	}
	return nil
}
