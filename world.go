package switchyard

import (
	"context"
	"errors"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/internal/views"
	"github.com/switchyard-moe/switchyard/transport"
)

// World is one rank's view of all ranks of a job, or of a group of them. Layers are built on it in
// the same order on every rank.
type World struct {
	t         transport.Transport
	views     *views.Views
	group     string               // its ranks, if it is not the whole job
	ops       lifecycle.Operations // what this rank is in, for all ranks to know
	comm      *collective.Comm
	source    string
	algorithm *alltoall.Algorithm  // of all layers, if the environment of Join named one
	layers    int                  // made so far, or tried
	links     compression.Measured // for layers
	machine   Machine              // for what they do not say themselves
	computing *sync.Mutex          // held by the pass that computes, on whatever group
	gaps      *gaps.Queue          // of sums that run beside passes, on whatever group
	building  *sync.Mutex          // held while a layer or a group is made
}

// NewWorld makes a world of a transport that is already connected, such as one end of an inproc
// mesh. The world takes it over: closing the world closes the transport, and nobody else may use
// it. A world of some of its ranks is made by [World.Group]: NewWorld of a view panics.
func NewWorld(t transport.Transport) *World {
	if transport.IsView(t) {
		panic("switchyard: NewWorld of a view; World.Group makes a world of some ranks")
	}
	w := &World{
		t: t, views: views.New(t), source: "a transport given by the program",
		ops:   lifecycle.Operations{Log: lockstep.New(t.Rank()), Transport: t},
		links: compression.Measured{}, computing: new(sync.Mutex), building: new(sync.Mutex), gaps: new(gaps.Queue),
	}
	transport.Watch(t, w.ops.Log)
	if err := w.newComm(); err != nil {
		panic(err) // a transport of which no view can be made
	}
	return w
}

// newComm makes collectives for the program's own use, whose calls are a stream of operations.
func (w *World) newComm() error {
	stream := w.views.Next()
	all, err := w.views.All()
	if err != nil {
		return err
	}
	w.comm = collective.New(all)
	w.comm.Watch(func(op string) func(error) error { return w.ops.Begin(stream, w.named("World.Comm"), op) })
	return layout.SetNodes(w.comm, layout.Ranks(0, w.Size(), 1), w.machine.Topology.Node, w.machine.Links)
}

// making notes that the ranks make something together.
func (w *World) making(op string) (end func(error) error) {
	return w.ops.Begin(w.views.Making(), w.group, op)
}

// agreeing is making of what takes messages only once there are groups.
func (w *World) agreeing(op string) (end func(error) error) {
	if w.views.Agreed() {
		return w.making(op)
	}
	return func(err error) error { return err }
}

// named is the name by which errors call a thing of the world.
func (w *World) named(thing string) string {
	if w.group == "" {
		return thing
	}
	return w.group + ", " + thing
}

// Rank is this rank's number.
func (w *World) Rank() transport.Rank { return w.views.Rank() }

// joined is the number by which errors name a rank.
func (w *World) joined(r transport.Rank) transport.Rank { return w.views.Joined(r) }

// Size is the number of ranks.
func (w *World) Size() int { return w.views.Size() }

// Source says where rank, size and address came from: "torchrun", "alone", …
func (w *World) Source() string { return w.source }

// Transport returns what the job runs over, for its capabilities and counters: for a group of ranks
// too, whose numbers are not those of the transport. Messages of the program's own would mix with
// those of the layers unless they go through a view made with [World.View].
func (w *World) Transport() transport.Transport { return w.t }

// Compute runs do while no layer of this rank computes, and they compute while do does not run. A
// trainer with two passes in flight on goroutines of their own runs its dense parts so: each has
// the whole processor while the rows of the other travel, where otherwise both compute at the same
// time and then both wait for the link. do must not call a layer.
func (w *World) Compute(do func()) {
	w.computing.Lock()
	defer w.computing.Unlock()
	do()
}

// Comm returns collectives over the whole world for the program's own use: the gradients of its
// dense parameters, say. Every rank calls them in the same order.
func (w *World) Comm() *collective.Comm { return w.comm }

// View returns a transport between the given ranks whose messages meet no others. All members call
// it, with the same list, and every rank of the world makes as many views and layers as the others,
// in the same order. On a group of ranks, or once groups have been made of the world, they agree on
// it: it may wait until all of them have called it.
func (w *World) View(members []transport.Rank) (t transport.Transport, err error) {
	end := w.agreeing("View")
	defer func() { err = end(err) }()
	return w.views.Of(members)
}

// rows makes a view for rows, which come before what runs in gaps.
func (w *World) rows(members []transport.Rank) (transport.Transport, error) {
	return w.views.Over(w.gaps.Transport(w.t), members)
}

// Group returns a world of some ranks of w, at any depth, in which rank i is members[i], a rank of
// w. Layers, views, collectives and groups are made of it as of any world, and it costs nothing
// that w does not. Every rank of w calls Group as often as the others, in the same order. The ranks
// of a group give the same list, so the groups of one call share no rank; a rank that is in none
// gives nil, or a list without itself, and gets a nil World. Ranks whose lists contradict each
// other are an error on every rank. Errors name ranks as they joined the job.
//
// The transport and its connections are those of the job: Close of a group does nothing, an error
// of the transport ends all groups, and WireBytes and [World.Compute] are of the rank. The layers
// of each group are numbered from the first, for [Config].Seed. A rank makes one layer or group at
// a time.
func (w *World) Group(members []transport.Rank) (*World, error) {
	if w == nil || w.t == nil {
		return nil, errors.New("switchyard: Group: the world was not made by Join or NewWorld")
	}
	if err := w.beginLayer("Group"); err != nil {
		return nil, err
	}
	defer w.building.Unlock()
	end := w.making("Group")
	of, err := w.views.Group(members)
	if err = end(err); err != nil || of == nil {
		return nil, err
	}
	w.ops.Log.Join(of.ID())
	g := *w
	g.views, g.group, g.layers, g.links = of, "ranks "+of.String(), 0, compression.Measured{}
	g.machine = machineOf(members, w.machine)
	if err := g.newComm(); err != nil {
		return nil, err
	}
	return &g, nil
}

// Reordered returns a world of the same ranks in which rank i is this one's rank order[i], and
// takes this one's place: layers, views and collectives are made of the new one, with the same
// order on every rank, and closing it closes the transport. It is for worlds whose links are
// unequal: copies of the experts ([Config.ExpertParallel]) are consecutive ranks, and an order by
// [schedule.GroupRanks] of what [World.MeasurePairs] finds keeps each copy among ranks whose links
// are fast (Holmes, arXiv 2312.03549). Errors go on naming ranks as they joined.
func (w *World) Reordered(order []int) (_ *World, err error) {
	end, n := w.agreeing("Reordered"), *w
	defer func() { err = end(err) }()
	if n.views, err = w.views.Reordered(order); err != nil {
		return nil, errtext.Errorf("switchyard: Reordered: %w", err)
	}
	n.machine = machineOf(order, w.machine)
	n.links = compression.Measured{} // topologies have other ranks
	if err := n.newComm(); err != nil {
		return nil, err
	}
	return &n, nil
}

// beginLayer begins to make a layer or a group, one at a time: building is then held.
func (w *World) beginLayer(op string) error {
	if !w.building.TryLock() {
		return errtext.Errorf("switchyard: %s: %w: this rank is making a layer or a group", op, ErrInUse)
	}
	return nil
}

// agree returns an error unless all ranks give the same fields, each a name and a value.
func (w *World) agree(op string, fields ...any) error {
	ranks := agreement.Ranks{Op: op, Comm: w.comm, Joined: w.views.Joined}
	return ranks.Compare(context.Background(), agreement.Fields(fields...))
}

// MeasureLinks times messages within and between the nodes of the world, for [Config.Links]. Every
// rank calls it, and all get the same; the result can be kept, as JSON say, and given again.
func (w *World) MeasureLinks(ctx context.Context, nodes alltoall.Topology) (links.Measured, error) {
	return measure(w, "MeasureLinks", func(all transport.Transport) (links.Measured, error) { return links.Measure(ctx, all, nodes) })
}

// MeasurePairs times messages between each two ranks, which tells slow links from fast ones: see
// [World.Reordered]. Every rank calls it, and all get the same.
func (w *World) MeasurePairs(ctx context.Context) (links.Pairs, error) {
	return measure(w, "MeasurePairs", func(all transport.Transport) (links.Pairs, error) { return links.MeasurePairs(ctx, all) })
}

// measure runs do on a view of all ranks.
func measure[T any](w *World, op string, do func(all transport.Transport) (T, error)) (m T, err error) {
	end := w.making(op)
	defer func() { err = end(err) }()
	all, err := w.views.All()
	if err != nil {
		return m, err
	}
	return do(all)
}

// Topology says which ranks share a node, if the transport found that out when it was joined, as
// that of [Join] does; else all are on one. It is for [Config.Topology] and [World.MeasureLinks].
func (w *World) Topology() alltoall.Topology {
	return alltoall.Topology{Node: w.views.Nodes(transport.NodesOf(w.t))}
}

// WireBytes is the number of bytes that this rank has handed to others, or 0 if the transport does
// not count.
func (w *World) WireBytes() uint64 {
	if c, ok := w.t.(transport.Counter); ok {
		return c.WireBytes()
	}
	return 0
}

// Close ends the world and its transport. It is idempotent. On a [World.Group] it does nothing.
func (w *World) Close() error {
	if w.group != "" {
		return nil
	}
	defer w.gaps.Close()
	return w.t.Close()
}
