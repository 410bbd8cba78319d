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
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestChunksAddUpToTheWhole holds two trips of an exchange in chunks, the second in another number
// of them, against what a whole one moves.
func TestChunksAddUpToTheWhole(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{1, 2, 3, 4, 7} {
		for range 20 {
			j, chunks, again, s := randomJob(r, ranks), 1+r.IntN(5), 1+r.IntN(5), r.Uint64()
			j.groups = r.IntN(4)
			a := alltoall.Algorithms()[r.IntN(len(alltoall.Algorithms()))]
			cut := []alltoall.Cut{alltoall.ByExperts(chunks), alltoall.ByRanks(chunks)}[r.IntN(2)]
			errs := ranktest.Errors(t, ranks, func(tr transport.Transport) error {
				return j.checkChunks(tr, a, cut, again, rand.New(rand.NewPCG(s, uint64(tr.Rank()))))
			})
			for rank, err := range errs {
				require.NoError(t, err, "seed %d, %d ranks, %s, %T of %d and %d, rank %d, %+v", seed, ranks, a, cut, chunks, again, rank, j)
			}
		}
	}
}

// chunk is the slow reference: what rank d must get in a chunk, and where each leaf's rows end. The
// ranks of a chunk are all in turn for each expert, or those given with all their experts.
func (j job) chunk(d int, c alltoall.Chunk) (data []float32, ends []int) {
	begin, _ := j.place.Of(d)
	add := func(e, s int) {
		for l := range j.counts[s].Leaves {
			for i := range j.counts[s].Rows[e*j.counts[s].Leaves+l] {
				data = append(data, row(s, e, l, i)...)
			}
			ends = append(ends, len(data)/dim)
		}
	}
	for _, s := range c.Ranks {
		for e := c.FirstExpert; e < c.EndExpert; e++ {
			add(begin+e, s)
		}
	}
	if c.Ranks == nil {
		for e := c.FirstExpert; e < c.EndExpert; e++ {
			for s := range j.counts {
				add(begin+e, s)
			}
		}
	}
	return data, ends
}

// divided cuts the rows of a chunk after its first expert or rank.
func divided(h *alltoall.Handle, chunk int, rows blas32.General) []blas32.General {
	c, n := h.Chunk(chunk), 0
	switch {
	case len(c.Ranks) > 1:
		for e := range h.Plan().Experts {
			n += h.Plan().Segment(e, c.Ranks[0]).Rows
		}
	case c.EndExpert-c.FirstExpert > 1 && c.Ranks == nil:
		for s := range h.Plan().Ranks() {
			n += h.Plan().Segment(c.FirstExpert, s).Rows
		}
	default:
		return []blas32.General{rows}
	}
	return []blas32.General{mat.Rows(rows, 0, n), mat.Rows(rows, n, rows.Rows)}
}

func (j job) checkChunks(tr transport.Transport, a alltoall.Algorithm, cut alltoall.Cut, again int, r *rand.Rand) error {
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim, Algorithm: a, Topology: alltoall.Nodes(tr.Size(), 2), Groups: j.groups})
	if err != nil {
		return err
	}
	out := j.outgoing(int(tr.Rank()))
	m, token := shuffled(r, out)
	for range 2 { // the second time in recycled memory
		counts := j.counts[tr.Rank()]
		counts.Rows = slices.Clone(counts.Rows)
		h, err := x.Begin(context.Background(), alltoall.Request{Counts: counts, Rows: m, Token: token, Cut: cut})
		if err != nil {
			return err
		}
		clear(counts.Rows) // they are the caller's again
		if err := j.checkTrip(h, out, func(chunk int) (blas32.General, []int, error) { return h.Dispatch(context.Background(), chunk) }); err != nil {
			return err
		}
		if err := h.Recut(again); err != nil {
			return err
		}
		if err := j.checkTrip(h, out, func(chunk int) (blas32.General, []int, error) {
			rows, err := h.DispatchBack(context.Background(), chunk, out)
			return rows, nil, err
		}); err != nil {
			return err
		}
		h.Release()
	}
	return nil
}

// checkTrip holds a trip's rows, which dispatch brings, and their ends, if it returns them, against
// the reference, and has them come home.
func (j job) checkTrip(h *alltoall.Handle, out blas32.General, dispatch func(chunk int) (blas32.General, []int, error)) error {
	experts, ranks := 0, 0
	var home blas32.General
	for chunk := range h.Chunks() {
		rows, ends, err := dispatch(chunk)
		if err != nil {
			return err
		}
		c := h.Chunk(chunk)
		experts, ranks = experts+c.EndExpert-c.FirstExpert, ranks+len(c.Ranks)
		want, wantEnds := j.chunk(h.Plan().Rank, c)
		if err := same(fmt.Sprintf("chunk %d", chunk), want, rows.Data); err != nil {
			return err
		}
		if ends != nil && !slices.Equal(ends, wantEnds) {
			return fmt.Errorf("chunk %d: ends %v, want %v", chunk, ends, wantEnds)
		}
		if home, err = h.Combine(context.Background(), chunk, divided(h, chunk, rows)...); err != nil {
			return err
		}
	}
	if experts != h.Plan().Experts && ranks != h.Plan().Ranks() {
		return fmt.Errorf("chunks have %d experts, and rows of %d ranks", experts, ranks)
	}
	return same("combined", out.Data, home.Data)
}

// TestPlanEndsAreOfAllChunks: cut by experts they are those of the exchange in one chunk.
func TestPlanEndsAreOfAllChunks(t *testing.T) {
	j := randomJob(rand.New(rand.NewPCG(1, 2)), 3)
	for _, err := range ranktest.Errors(t, 3, func(tr transport.Transport) error {
		me := int(tr.Rank())
		x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim})
		require.NoError(t, err)
		h, err := x.Begin(context.Background(), alltoall.Request{Counts: j.counts[me], Rows: j.outgoing(me), Cut: alltoall.ByExperts(3)})
		require.NoError(t, err)
		var data []float32
		for chunk := range 3 {
			rows, _, err := h.Dispatch(context.Background(), chunk)
			require.NoError(t, err)
			data = append(data, rows.Data...)
		}
		want, ends := j.incoming(me)
		require.Equal(t, fmt.Sprint(ends), fmt.Sprint(h.Plan().Ends))
		return same("all chunks", want, data)
	}) {
		require.NoError(t, err)
	}
}

// TestChunksAreWholeGroups, in any number of them; without groups each expert is one.
func TestChunksAreWholeGroups(t *testing.T) {
	for _, c := range []struct {
		groups, chunks int
		want           [][2]int
	}{
		{4, 3, [][2]int{{0, 3}, {3, 6}, {6, 12}}},
		{4, 2, [][2]int{{0, 6}, {6, 12}}},
		{2, 3, [][2]int{{0, 0}, {0, 6}, {6, 12}}},
		{0, 3, [][2]int{{0, 4}, {4, 8}, {8, 12}}},
	} {
		for _, err := range ranktest.Errors(t, 1, func(tr transport.Transport) error {
			x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(12, 1), Dim: dim, Groups: c.groups})
			require.NoError(t, err)
			h, err := x.Begin(context.Background(), alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}, Cut: alltoall.ByExperts(c.chunks)})
			require.NoError(t, err)
			defer h.Release()
			for i, want := range c.want {
				require.Equal(t, alltoall.Chunk{FirstExpert: want[0], EndExpert: want[1]}, h.Chunk(i), "%+v, chunk %d", c, i)
			}
			return nil
		}) {
			require.NoError(t, err)
		}
	}
}
