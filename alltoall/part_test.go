package alltoall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestPartsAddUpToTheWhole holds a dispatch in parts, its combine and its repetition against what a whole one moves.
func TestPartsAddUpToTheWhole(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{1, 2, 3, 4, 7} {
		for range 10 {
			j, parts, s := randomJob(r, ranks), 1+r.IntN(5), r.Uint64()
			a := alltoall.Algorithms()[r.IntN(len(alltoall.Algorithms()))]
			errs := onRanks(t, ranks, func(tr transport.Transport) error {
				return j.checkParts(tr, a, parts, rand.New(rand.NewPCG(s, uint64(tr.Rank()))))
			})
			for rank, err := range errs {
				require.NoError(t, err, "seed %d, %d ranks, %s, %d parts, rank %d, %+v", seed, ranks, a, parts, rank, j)
			}
		}
	}
}

// halves cuts a part's rows after its first expert.
func halves(h *alltoall.Handle, part int, rows blas32.General) []blas32.General {
	begin, end := h.Experts(part)
	if end-begin < 2 {
		return []blas32.General{rows}
	}
	n := 0
	for s := range h.Plan().Ranks() {
		n += h.Plan().Segment(begin, s).Rows
	}
	cut := func(first, end int) blas32.General {
		return blas32.General{Rows: end - first, Cols: rows.Cols, Stride: rows.Stride, Data: rows.Data[first*rows.Stride : end*rows.Stride]}
	}
	return []blas32.General{cut(0, n), cut(n, rows.Rows)}
}

// TestPartsByPeersAddUpToTheWhole does so for parts of ranks' rows, dispatched in one number of parts and again in another.
func TestPartsByPeersAddUpToTheWhole(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{1, 2, 3, 4, 7} {
		for range 10 {
			j, parts, again, s := randomJob(r, ranks), 1+r.IntN(5), 1+r.IntN(5), r.Uint64()
			a := alltoall.Algorithms()[r.IntN(len(alltoall.Algorithms()))]
			errs := onRanks(t, ranks, func(tr transport.Transport) error {
				return j.checkPeers(tr, a, parts, again, rand.New(rand.NewPCG(s, uint64(tr.Rank()))))
			})
			for rank, err := range errs {
				require.NoError(t, err, "seed %d, %d ranks, %s, %d and %d parts, rank %d, %+v", seed, ranks, a, parts, again, rank, j)
			}
		}
	}
}

// fromPeers is the slow reference: what rank d must get from some ranks, by rank, then by expert, and where each leaf's rows end.
func (j job) fromPeers(d int, peers []int) (data []float32, ends []int) {
	begin, end := j.place.Of(d)
	for _, s := range peers {
		c := j.counts[s]
		for e := begin; e < end; e++ {
			for l := range c.Leaves {
				for i := range c.Rows[e*c.Leaves+l] {
					data = append(data, row(s, e, l, i)...)
				}
				ends = append(ends, len(data)/dim)
			}
		}
	}
	return data, ends
}

func (j job) checkPeers(tr transport.Transport, a alltoall.Algorithm, parts, again int, r *rand.Rand) error {
	ctx, me := context.Background(), int(tr.Rank())
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim, Algorithm: a, Topology: alltoall.Nodes(tr.Size(), 2)})
	if err != nil {
		return err
	}
	out := j.outgoing(me)
	m, token := shuffled(r, out)
	for range 2 { // the second time in recycled memory
		h, err := x.BeginByPeers(ctx, j.counts[me], m, token, parts)
		if err != nil {
			return err
		}
		home, seen := h.Home(), 0
		for part := range parts {
			rows, ends, err := h.DispatchPart(ctx, part)
			if err != nil {
				return err
			}
			want, wantEnds := j.fromPeers(me, h.Peers(part))
			seen += len(h.Peers(part))
			if err := same("dispatched", want, rows.Data); err != nil {
				return err
			}
			if fmt.Sprint(ends) != fmt.Sprint(wantEnds) {
				return fmt.Errorf("part %d: ends %v, want %v", part, ends, wantEnds)
			}
			if err := h.CombinePart(ctx, part, home, rows); err != nil {
				return err
			}
		}
		if seen != tr.Size() {
			return fmt.Errorf("rows of %d ranks, want %d", seen, tr.Size())
		}
		if err := same("combined", out.Data, home.Data); err != nil {
			return err
		}
		h.Recut(again)
		in, home := h.Arrival(), h.Home()
		for part := range again {
			rows, err := h.RedispatchPart(ctx, part, out, in)
			if err != nil {
				return err
			}
			want, _ := j.fromPeers(me, h.Peers(part))
			if err := same("dispatched again", want, rows.Data); err != nil {
				return err
			}
			if err := h.CombinePart(ctx, part, home, rows); err != nil {
				return err
			}
		}
		if err := same("combined again", out.Data, home.Data); err != nil {
			return err
		}
		h.Release()
	}
	return nil
}

func (j job) checkParts(tr transport.Transport, a alltoall.Algorithm, parts int, r *rand.Rand) error {
	ctx, me := context.Background(), int(tr.Rank())
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim, Algorithm: a, Topology: alltoall.Nodes(tr.Size(), 2)})
	if err != nil {
		return err
	}
	want, ends := j.incoming(me)
	out := j.outgoing(me)
	m, token := shuffled(r, out)
	for range 2 { // the second time in recycled memory
		counts := j.counts[me]
		counts.Rows = slices.Clone(counts.Rows)
		h, err := x.Begin(ctx, counts, m, token, parts)
		if err != nil {
			return err
		}
		clear(counts.Rows) // they are the caller's again
		var got []float32
		var gotEnds []int
		home := h.Home()
		for part := range parts {
			rows, partEnds, err := h.DispatchPart(ctx, part)
			if err != nil {
				return err
			}
			for _, end := range partEnds {
				gotEnds = append(gotEnds, len(got)/dim+end)
			}
			got = append(got, rows.Data...)
			if err := h.CombinePart(ctx, part, home, halves(h, part, rows)...); err != nil {
				return err
			}
		}
		if err := same("dispatched", want, got); err != nil {
			return err
		}
		if fmt.Sprint(gotEnds) != fmt.Sprint(ends) || fmt.Sprint(h.Plan().Ends) != fmt.Sprint(ends) {
			return fmt.Errorf("ends %v and %v, want %v", gotEnds, h.Plan().Ends, ends)
		}
		if err := same("combined", out.Data, home.Data); err != nil {
			return err
		}
		in := h.Arrival()
		got = got[:0]
		for part := range parts {
			rows, err := h.RedispatchPart(ctx, part, out, in)
			if err != nil {
				return err
			}
			got = append(got, rows.Data...)
		}
		if err := same("dispatched again", want, got); err != nil {
			return err
		}
		h.Release()
	}
	return nil
}
