package switchyard

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

// World is one rank's view of all ranks of a job. Layers are built on it in the same order on every
// rank.
type World struct {
	t         transport.Transport
	order     []transport.Rank // of the transport, by this world's; nil where they are the same
	me        transport.Rank
	comm      *collective.Comm
	source    string
	algorithm *alltoall.Algorithm // of all layers, if the environment of Join named one
	channel   uint16
	layers    int                    // made so far, or tried
	links     map[string]links.Links // measured for layers, by topology

	computing *sync.Mutex   // held by whichever micro-batch computes
	building  *sync.Mutex   // held while a layer is made
	log       *lockstep.Log // what this rank is in, so that ranks out of step are found
}

// NewWorld makes a world of a transport that is already connected, such as one end of an inproc
// mesh. The world takes it over: closing the world closes the transport, and nobody else may use
// it.
func NewWorld(t transport.Transport) *World {
	w := &World{
		t: t, me: t.Rank(), source: "a transport given by the program",
		computing: new(sync.Mutex), building: new(sync.Mutex), log: lockstep.New(t.Rank()),
	}
	transport.Watch(t, w.log)
	w.comm = w.newComm()
	return w
}

// making is the stream of the operations by which a world makes layers, and measures links.
const making lockstep.StreamID = 0

// newComm makes collectives for the program's own use, whose calls are a stream of operations.
func (w *World) newComm() *collective.Comm {
	c := collective.New(w.viewOfAll())
	stream := lockstep.StreamID(w.channel)
	c.Watch(func(op string) (end func(error) error) { return w.begin(stream, "World.Comm", op) })
	return c
}

// begin notes that an operation of a stream begins. What it returns is called with the error of the
// operation, and returns a better one where the error comes of ranks that are out of step.
func (w *World) begin(stream lockstep.StreamID, label, op string) (end func(error) error) {
	return lifecycle.Operations{Log: w.log, Transport: w.t}.Begin(stream, label, op)
}

// Rank is this rank's number.
func (w *World) Rank() transport.Rank { return w.me }

// Size is the number of ranks.
func (w *World) Size() int { return w.t.Size() }

// Source says where rank, size and address came from: "torchrun", "alone", …
func (w *World) Source() string { return w.source }

// Transport returns what the world runs over, for its capabilities and counters. Messages of the
// program's own would mix with those of the layers unless they go through a view made with
// [World.View].
func (w *World) Transport() transport.Transport { return w.t }

// Compute runs do while no layer of this rank that has micro-batch layers computes, and they
// compute while do does not run. A trainer with two micro-batches in flight runs its dense parts
// so: each has the whole processor while the rows of the other travel, where otherwise both compute
// at the same time and then both wait for the link. do must not call a layer.
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
// in the same order.
func (w *World) View(members []transport.Rank) (transport.Transport, error) {
	if w.channel == math.MaxUint16 {
		return nil, fmt.Errorf("switchyard: the world has %d views, those of its layers included, and can have no more", w.channel)
	}
	w.channel++
	if w.order != nil {
		joined := make([]transport.Rank, len(members))
		for i, r := range members {
			if r < 0 || int(r) >= len(w.order) {
				return nil, fmt.Errorf("switchyard: view of rank %d, outside 0..%d", r, len(w.order)-1)
			}
			joined[i] = w.order[r]
		}
		members = joined
	}
	return transport.Sub(w.t, w.channel, members)
}

// Reordered returns a world of the same ranks in which rank i is this one's rank order[i], and
// takes this one's place: layers, views and collectives are made of the new one, with the same
// order on every rank, and closing it closes the transport. It is for worlds whose links are
// unequal: copies of the experts ([Config.ExpertParallel]) are consecutive ranks, and an order by
// [schedule.GroupRanks] of what [World.MeasurePairs] finds keeps each copy among ranks whose links
// are fast (Holmes, arXiv 2312.03549). Errors go on naming ranks as they joined.
func (w *World) Reordered(order []int) (*World, error) {
	if err := layout.CheckOrder(order, w.Size()); err != nil {
		return nil, errtext.Errorf("switchyard: Reordered: %w", err)
	}
	n := *w
	n.links, n.order = nil, make([]transport.Rank, len(order))
	for i, r := range order {
		n.order[i] = w.joined(transport.Rank(r))
		if transport.Rank(r) == w.me {
			n.me = transport.Rank(i)
		}
	}
	n.comm = n.newComm()
	return &n, nil
}

// joined is the transport's number of a rank.
func (w *World) joined(r transport.Rank) transport.Rank {
	if w.order == nil {
		return r
	}
	return w.order[r]
}

// viewOfAll is View of all ranks, in a world that has few.
func (w *World) viewOfAll() transport.Transport {
	v, err := w.View(layout.Ranks(0, w.Size(), 1))
	if err != nil {
		panic(fmt.Sprintf("switchyard: view of all ranks: %v", err))
	}
	return v
}

// beginLayer begins to make a layer, of which one is made at a time.
func (w *World) beginLayer(op string) error {
	if !w.building.TryLock() {
		return errtext.Errorf("switchyard: %s: %w: a layer is being made on this world", op, ErrInUse)
	}
	return nil
}

func (w *World) endLayer() { w.building.Unlock() }

// MeasureLinks times messages within and between the nodes of the world, for [Config.Links]. Every
// rank calls it, and all get the same; the result can be kept, as JSON say, and given again.
func (w *World) MeasureLinks(ctx context.Context, nodes alltoall.Topology) (m links.Measured, err error) {
	end := w.begin(making, "", "MeasureLinks")
	defer func() { err = end(err) }()
	return links.Measure(ctx, w.viewOfAll(), nodes)
}

// linksOf measures links, the same on every rank, once for each topology.
func (w *World) linksOf(nodes alltoall.Topology) (links.Links, error) {
	key := fmt.Sprint(nodes.Node)
	if l, ok := w.links[key]; ok {
		return l, nil
	}
	m, err := links.Measure(context.Background(), w.viewOfAll(), nodes)
	if err != nil {
		return links.Links{}, err
	}
	if w.links == nil {
		w.links = map[string]links.Links{}
	}
	w.links[key] = m.Links
	return m.Links, nil
}

// MeasurePairs times messages between each two ranks, which tells slow links from fast ones: see
// [World.Reordered]. Every rank calls it, and all get the same.
func (w *World) MeasurePairs(ctx context.Context) (p links.Pairs, err error) {
	end := w.begin(making, "", "MeasurePairs")
	defer func() { err = end(err) }()
	return links.MeasurePairs(ctx, w.viewOfAll())
}

// Topology says which ranks share a node, where the transport found that out when it was joined, as
// that of [Join] does; else all are on one. It is for [Config.Topology] and [World.MeasureLinks].
func (w *World) Topology() alltoall.Topology {
	nodes := transport.NodesOf(w.t)
	if nodes == nil || w.order == nil {
		return alltoall.Topology{Node: slices.Clone(nodes)}
	}
	return layout.Nodes(w.order, nodes)
}

// WireBytes is the number of bytes that this rank has handed to others, or 0 where the transport
// does not count.
func (w *World) WireBytes() uint64 {
	if c, ok := w.t.(transport.Counter); ok {
		return c.WireBytes()
	}
	return 0
}

// Close ends the world and its transport. It is idempotent.
func (w *World) Close() error { return w.t.Close() }
