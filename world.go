package switchyard

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/transport"
)

// World is one rank's view of all ranks of a job. Layers are built on it in the same order on every rank.
type World struct {
	t       transport.Transport
	comm    *collective.Comm
	source  string
	channel uint16
}

// NewWorld makes a world of a transport that is already connected, such as one end of an inproc mesh. The world
// takes it over: closing the world closes the transport, and nobody else may use it.
func NewWorld(t transport.Transport) *World {
	w := &World{t: t, source: "a transport given by the program"}
	w.comm = collective.New(w.view(everyone(t.Size())))
	return w
}

// Rank is this rank's number.
func (w *World) Rank() transport.Rank { return w.t.Rank() }

// Size is the number of ranks.
func (w *World) Size() int { return w.t.Size() }

// Source says where rank, size and address came from: "torchrun", "alone", …
func (w *World) Source() string { return w.source }

// Transport returns what the world runs over, for its capabilities and counters. Messages of the program's own
// would mix with those of the layers unless they go through a view made with [World.View].
func (w *World) Transport() transport.Transport { return w.t }

// Comm returns collectives over the whole world for the program's own use: the gradients of its dense
// parameters, say. Every rank calls them in the same order.
func (w *World) Comm() *collective.Comm { return w.comm }

// View returns a transport between the given ranks whose messages meet no others. All members call it, with
// the same list, and every rank of the world makes as many views and layers as the others, in the same order.
func (w *World) View(members []transport.Rank) (transport.Transport, error) {
	w.channel++
	return transport.Sub(w.t, w.channel, members)
}

// view is View for lists that are right by construction.
func (w *World) view(members []transport.Rank) transport.Transport {
	v, err := w.View(members)
	if err != nil {
		panic(fmt.Sprintf("switchyard: view of %v: %v", members, err))
	}
	return v
}

// MeasureLinks times messages within and between the nodes of the world, for [Config.Links]. Every rank calls it, and all get the same;
// the result can be kept, as JSON say, and given again.
func (w *World) MeasureLinks(ctx context.Context, nodes alltoall.Topology) (alltoall.Measured, error) {
	return alltoall.Measure(ctx, w.view(everyone(w.Size())), nodes)
}

// WireBytes is the number of bytes that this rank has handed to others, or 0 where the transport does not count.
func (w *World) WireBytes() uint64 {
	if c, ok := w.t.(transport.Counter); ok {
		return c.WireBytes()
	}
	return 0
}

// Close ends the world and its transport. It is idempotent.
func (w *World) Close() error { return w.t.Close() }

func everyone(size int) []transport.Rank { return ranks(0, size, 1) }

// ranks lists count ranks from first, step apart.
func ranks(first, count, step int) []transport.Rank {
	list := make([]transport.Rank, count)
	for i := range list {
		list[i] = transport.Rank(first + i*step)
	}
	return list
}
