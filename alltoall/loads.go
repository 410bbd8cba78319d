package alltoall

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/transport"
)

// If [Config.Allocates] a counts message is the same for every rank: the fixed words, the time of a
// row, the rows for each expert leaf by leaf, and those for each node. Its length depends on the
// sender's leaves, so it travels with its length.

// rowTimeWords is the number of words of the time of a row.
const rowTimeWords = 2

// loadsHead is the length of what such a message has besides counts.
func (x *Exchange) loadsHead() int {
	return 4 * (countsHeader + rowTimeWords + x.chooser.countedNodes())
}

// exchangeLoads sends every rank all counts of this one, and sets loads to those of all ranks.
func (x *Exchange) exchangeLoads(ctx context.Context, q *Request, k crossings, loads *Loads) ([]announcement, error) {
	x.round.sized = true
	all := x.encodeLoads(q.Counts, q.RowTime, k)
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		x.send(r, x.round.one(all))
		x.recv(r, nil)
	}
	if err := x.run(ctx, "counts"); err != nil {
		return nil, err
	}
	in := x.emptySplits(x.size())
	in[x.rank()] = all
	for _, m := range x.round.recvs {
		in[m.Peer] = m.Bufs[0]
	}
	return x.decodeLoads(in, loads)
}

func (x *Exchange) encodeLoads(c Counts, rowTime int64, k crossings) []byte {
	words := x.round.takeBytes(x.loadsHead() + 4*len(c.Rows))[:0]
	words = x.appendHead(words, c, k)
	words = binary.LittleEndian.AppendUint64(words, uint64(rowTime))
	for _, n := range c.Rows {
		words = binary.LittleEndian.AppendUint32(words, uint32(n))
	}
	return x.appendNodes(words, c)
}

// decodeLoads checks every number of the messages of all ranks against its limits.
func (x *Exchange) decodeLoads(in [][]byte, loads *Loads) ([]announcement, error) {
	for s, words := range in {
		if head := x.loadsHead(); len(words) < head {
			return nil, x.fault(s, "counts", transport.ErrProtocol, "%d bytes of counts, want %d or more", len(words), head)
		}
	}
	if err := x.findRefusal(in); err != nil {
		return nil, err
	}
	x.announced = x.announced[:0]
	loads.Placement, loads.Leaves, loads.RowTime = x.placement, loads.Leaves[:0], loads.RowTime[:0]
	counts := 0
	for s, words := range in {
		a, err := x.decodeHead(s, words)
		if err != nil {
			return nil, err
		}
		if counts += times(a.leaves, x.placement.Experts()); counts > x.counted || counts < 0 {
			return nil, x.fault(s, "counts", transport.ErrTooLarge,
				"%d groups of tokens × experts from it, more than MaxCounts, %d, with those of the ranks before; larger groups are fewer",
				times(a.leaves, x.placement.Experts()), x.counted)
		}
		if want := x.loadsHead() + 4*a.leaves*x.placement.Experts(); len(words) != want {
			return nil, x.fault(s, "counts", transport.ErrProtocol, "%d bytes of counts in %d leaves, want %d", len(words), a.leaves, want)
		}
		time := binary.LittleEndian.Uint64(words[4*countsHeader:])
		if int64(time) < 0 {
			return nil, x.fault(s, "counts", transport.ErrProtocol, "a row takes it %d ps, limit 2⁶³", time)
		}
		loads.Leaves, loads.RowTime = append(loads.Leaves, a.leaves), append(loads.RowTime, int64(time))
		x.announced = append(x.announced, a)
	}
	return x.announced, x.fillLoads(in, loads, counts)
}

// fillLoads reads the given number of counts.
func (x *Exchange) fillLoads(in [][]byte, loads *Loads, counts int) error {
	loads.Rows = slices.Grow(loads.Rows[:0], counts)[:counts]
	before, leaves := 0, loads.TotalLeaves()
	for s, words := range in {
		a, words := &x.announced[s], words[4*(countsHeader+rowTimeWords):]
		leaving, most := int64(0), int64(x.mostRows(*a)) // which an int32 holds
		for e := range x.placement.Experts() {
			rows := int64(0)
			to := loads.Rows[e*leaves+before:][:a.leaves]
			for i := range to {
				n := binary.LittleEndian.Uint32(words)
				words = words[4:]
				to[i] = int32(n)
				rows += int64(n)
			}
			if rows > most {
				return x.fault(s, "counts", transport.ErrProtocol, "%d rows for expert %d, of %d tokens", rows, e, a.tokens)
			}
			if begin, end := x.placement.Of(s); e < begin || e >= end {
				leaving += rows
			}
		}
		a.leaving = int(min(leaving, math.MaxInt))
		before += a.leaves
		var err error
		if *a, err = x.decodeNodes(s, *a, words); err != nil {
			return err
		}
	}
	return nil
}
