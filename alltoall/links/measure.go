package links

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// The tags of messages that are timed within a node and between nodes, of messages with fits, and
// of messages that are timed between two ranks.
const (
	withinTag transport.Tag = iota
	betweenTag
	fitsTag
	pairTag
)

// Measured is links as [Measure] found them, and how well they describe the times: R2 is 1 if the
// time of a message is exactly Alpha and Beta for each byte, and 0 if there is no such link.
type Measured struct {
	Links
	R2Within, R2Between float64
}

// messageSizes are the sizes of the messages that are timed. Together they are more bytes than a
// link lets pass before it holds to its rate.
var messageSizes = []size{{64, 16}, {4 << 10, 16}, {64 << 10, 8}, {512 << 10, 2}}

// Measure times messages over t, which must carry nothing else, and fits their costs by least
// squares of the relative error. Within a node each rank sends to the next; between nodes their
// first ranks do, one a link. All ranks call it, and all get the same result: that of the slowest
// rank. It takes some hundred messages, of 64 bytes to 512 KiB, 10 MiB in all.
func Measure(ctx context.Context, t transport.Transport, top alltoall.Topology) (Measured, error) {
	if err := top.Validate(t.Size()); err != nil {
		return Measured{}, err
	}
	found, err := measureMessages(ctx, t, top)
	if err != nil || t.Size() == 1 {
		return found, err
	}
	found.Rounds, err = measureRounds(ctx, t, top)
	if err != nil {
		return Measured{}, err
	}
	return found, nil
}

// measureMessages times single messages in a ring of the ranks of each node, and in one of the
// first ranks of the nodes.
func measureMessages(ctx context.Context, t transport.Transport, top alltoall.Topology) (Measured, error) {
	nodes, me := top.Members(t.Size()), int(t.Rank())
	var first []int
	for _, members := range nodes {
		first = append(first, members[0])
	}
	rings := [2][]int{withinTag: nodes[top.NodeOf(me)], betweenTag: first}
	var mine [2]fit
	for tag, ring := range rings {
		at := slices.Index(ring, me)
		if len(ring) < 2 || at < 0 {
			continue
		}
		to, from := ring[(at+1)%len(ring)], ring[(at+len(ring)-1)%len(ring)]
		var err error
		if mine[tag], err = timeMessages(ctx, t, transport.Tag(tag), to, from, messageSizes); err != nil {
			return Measured{}, errtext.Errorf("alltoall: measuring links: %w", err)
		}
	}
	fits, err := slowestFits(ctx, t, mine[:])
	if err != nil {
		return Measured{}, err
	}
	within, between := fits[withinTag], fits[betweenTag]
	found := Links{Within: within.link(), Between: between.link()}
	return Measured{Links: found, R2Within: within.r2, R2Between: between.r2}, nil
}

// measureRounds times whole rounds by every algorithm, and returns the slowest rank's times.
func measureRounds(ctx context.Context, t transport.Transport, top alltoall.Topology) (Rounds, error) {
	mine, err := timeRounds(ctx, t, top)
	if err != nil {
		return Rounds{}, err
	}
	slowest, err := slowestFits(ctx, t, mine)
	if err != nil {
		return Rounds{}, err
	}
	rounds := Rounds{Ranks: t.Size(), Bytes: roundBytes(t.Size())}
	for i, f := range slowest {
		rounds.Times[alltoall.Algorithms()[i/roundSizes]][i%roundSizes] = time.Duration(f.alpha)
	}
	return rounds, nil
}

// roundBytes returns the lengths of messages in the rounds that are timed: each is eight times the
// one before, up to the length with which a rank sends half a MiB.
func roundBytes(ranks int) (list [roundSizes]int) {
	most := max((512<<10)/ranks, 64<<(3*(roundSizes-1)))
	for i := range list {
		list[i] = most >> (3 * (roundSizes - 1 - i))
	}
	return list
}

// timeRounds times rounds by every algorithm and of every length, as fits without a slope. All run
// once before any is timed, since the first are slow wherever they touch memory for the first time.
func timeRounds(ctx context.Context, t transport.Transport, top alltoall.Topology) ([]fit, error) {
	n := t.Size()
	x, err := alltoall.New(t, alltoall.Config{Placement: alltoall.Even(n, n), Dim: 1, Topology: top})
	if err != nil {
		return nil, err
	}
	sizes := roundBytes(n)
	long := sizes[roundSizes-1]
	out, in := make([]byte, long), make([]byte, n*long)
	fits := make([]fit, len(alltoall.Algorithms())*roundSizes)
	for _, timed := range []bool{false, true} {
		for i := range fits {
			a, bytes := alltoall.Algorithms()[i/roundSizes], sizes[i%roundSizes]
			round := func() error { return x.Uniform(ctx, a, out[:bytes], in) }
			if !timed {
				err = round()
			} else {
				fits[i].alpha, err = meanTime(max(min(long/bytes/4, 8), 1), round)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return fits, nil
}
