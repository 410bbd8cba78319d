package switchyard

import (
	"cmp"
	"context"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/balancing"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/passes"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/internal/roworder"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
	"github.com/switchyard-moe/switchyard/transport"
)

// builder builds one layer, and holds what only that takes.
type builder struct {
	l    *Layer
	at   layout.Layout
	gate router.Gate

	// The layer's own communicators: over the world, for what is agreed on and for checks; over the
	// ranks of one copy of the experts; and over those that host the same experts.
	everyone, oneCopy, replicas *collective.Comm
	gaps                        gradients.Comms // of sums that run in gaps, if there are any
}

// newBuilder begins to build a layer, which errors call label.
func newBuilder(w *World, cfg Config, label string) *builder {
	return &builder{
		l: &Layer{cfg: cfg, world: w, label: label, stages: passes.Stages{
			Turn:  &lifecycle.Turn{Lock: w.computing},
			Shape: batch.Shape{Dim: cfg.Dim, Experts: cfg.Experts, Group: cfg.Group},
		}},
		at: layout.New(layout.Config{
			Rank: int(w.Rank()), Size: w.Size(), ExpertParallel: cfg.ExpertParallel,
			Experts: cfg.Experts, Hosted: cfg.Hosted, Order: cfg.Order,
		}),
	}
}

// guarded describes the layer to its guard.
func (b *builder) guarded() lifecycle.Config {
	w, label := b.l.world, b.l.label
	stream := w.views.Next() // of the layer's first view
	return lifecycle.Config{
		Rank: w.views.Joined(w.Rank()),
		Begin: func(op string) func(error) error {
			switch op { // a rank may call Forward where others call ForwardBatch
			case "ForwardBatch":
				op = "Forward"
			case "EvalBatch":
				op = "Eval"
			}
			return w.ops.Begin(stream, label, op)
		},
		Passes: w.ops.Passes(stream, label),
		Ended:  func(cause error) { w.ops.Log.Fail(stream, cause) },
	}
}

// build builds the layer together with the other ranks, which must have the same settings.
func (b *builder) build(settings *agreement.Settings) error {
	ctx, l, all := context.Background(), b.l, b.at.World()
	if err := b.connect(among{&b.everyone, all}, among{&b.replicas, b.at.Replicas()},
		among{&b.oneCopy, b.at.OneCopy()}, among{&l.stages.Ranks.Checks, all}); err != nil {
		return err
	}
	ranks := agreement.Ranks{Comm: b.everyone, Joined: l.world.views.Joined}
	if err := ranks.Compare(ctx, settings); err != nil {
		return err
	}
	if err := ranks.Built(ctx, b.buildOwn()); err != nil {
		return err
	}
	if err := b.buildExchange(); err != nil {
		return err
	}
	if l.cfg.Overlap.GradientPiece > 0 {
		if err := b.connect(among{&b.gaps.World, all}, among{&b.gaps.Replicas, b.at.Replicas()}); err != nil {
			return err
		}
	}
	sets := parameters.Sets{
		Gate: b.gate.Params(), Experts: l.stages.Path.Experts.Params(),
		Shared: l.stages.Path.Experts.Shared.Params(), Gains: l.stages.Compression.Gains(),
	}
	l.table = parameters.New(parameters.Config{
		Sets: sets, Gate: b.gate, Placement: b.at.Placement, Order: b.at.Order, Rank: b.at.Rank, Comm: b.oneCopy,
		Copy: b.at.Copy, Copies: b.at.Copies, Number: l.world.layers,
	})
	l.stages.Gradients = gradients.New(gradients.Config{
		Gaps: gradients.Gaps{Queue: l.world.gaps, Piece: l.cfg.Overlap.GradientPiece, Comms: b.gaps, Counts: &l.stats.gaps},
		Sets: sets, Gate: b.gate, World: b.everyone, Replicas: b.replicas,
		ExpertParallel: b.at.Parallel, Placement: b.at.Placement, Order: b.at.Order, MicroBatches: l.cfg.batches(), Sums: l.cfg.Sums, Turn: l.stages.Turn, Joined: l.world.views.Joined,
	})
	l.stages.Ranks.Everyone, l.stages.Ranks.Replicas = b.everyone, b.replicas
	l.stages.Exchanging = &l.stats.exchanging
	// Else no forward pass can find anything.
	l.stages.ForwardChecks = l.cfg.Wire.Finite || l.cfg.Compression.Assign != nil
	return nil
}

// among is a communicator of the layer, to be made, and the ranks that it connects.
type among struct {
	comm    **collective.Comm
	members []transport.Rank
}

// connect makes communicators.
func (b *builder) connect(list ...among) error {
	for _, of := range list {
		view, err := b.l.world.views.Of(of.members)
		if err == nil {
			*of.comm, err = layout.Comm(view, of.members, b.l.cfg.Topology.Node, b.l.cfg.Links)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// buildOwn builds the stages that take no other rank.
func (b *builder) buildOwn() (err error) {
	l, w, cfg := b.l, b.l.world, b.l.cfg
	b.gate, err = cfg.Router.New(router.Shape{Dim: cfg.Dim, Experts: cfg.Experts, Seed: cfg.Seed})
	if err = cmp.Or(err, layout.CheckSlots(cfg.Order, routing.Slots(b.gate))); err != nil {
		return err
	}
	l.stages.Routing = routing.New(routing.Config{
		Gate: b.gate, Experts: cfg.Experts, Passes: cfg.batches(), Comm: b.everyone, Joined: w.views.Joined,
		Replicas: b.at.Copies, Turn: l.stages.Turn,
	})
	l.stages.Order = roworder.New(cfg.Dim, b.at.Order)
	l.stages.Checks = passcheck.New(passcheck.Config{
		Ranks: w.Size(), Rank: w.Rank(), Joined: w.views.Joined, Wire: cfg.Wire,
		Gradients: cfg.Compression.rowGradients(),
	})
	l.stages.Path, err = cfg.newPath(b.at, pipeline.Path{Checks: l.stages.Checks, Turn: l.stages.Turn, Rank: w.Rank(), Hooks: cfg.Hooks},
		autotune.Config{Comm: b.everyone, Rank: int(w.Rank()), Ranks: w.Size()}, &l.stats.exchanging)
	return err
}

// buildExchange builds what takes the rows to other ranks, and compression before it.
func (b *builder) buildExchange() (err error) {
	l, cfg := b.l, b.l.cfg
	exchange := alltoall.Config{
		Placement: b.at.Placement, Dim: cfg.Dim, MaxRows: cfg.MaxRows, LeafRows: routing.Slots(b.gate),
		Algorithm: cfg.Algorithm, Topology: b.at.Topology(cfg.Topology), Wire: cfg.Wire,
		Allocates: cfg.Balance.When != balance.Never, Groups: l.stages.Path.Most(), // whole in chunks
	}
	if cfg.Links != (links.Links{}) {
		exchange.Costs = cfg.Links
	}
	if l.stages.Compression, err = b.newCompression(exchange); err != nil {
		return err
	}
	if cfg.Compression.When != CompressNever && cfg.Compression.Nodes {
		exchange.LeafRows = alltoall.DefaultMaxRows // as compression.Build has it
	}
	view, err := l.world.rows(b.at.OneCopy())
	if err != nil {
		return err
	}
	l.stages.Path.Computing = l.stages.Compression.Computing()
	if l.stages.Balance, err = balancing.Build(cfg.Balance, balancing.Ranks{
		Layout: b.at, Exchange: exchange, Experts: l.stages.Path.Experts, View: l.world.rows, Known: cfg.Links, Links: b.measureLinks,
	}); err != nil {
		return err
	}
	if l.stages.Ranks.Exchange, err = alltoall.New(view, exchange); err != nil {
		return err
	}
	return l.stages.SetWire()
}

func (b *builder) measureLinks() (links.Links, error) {
	return b.l.world.links.Of(b.l.cfg.Topology, b.l.world.views.All)
}
