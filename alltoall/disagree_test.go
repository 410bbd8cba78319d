package alltoall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// uniform is a sharing of two experts a rank, of which each leaf has two rows; each rank has two
// leaves.
func uniform(ranks int, a alltoall.Allocation) sharing {
	s := sharing{job: job{place: alltoall.Even(2*ranks, ranks)}, a: a}
	for range ranks {
		c := alltoall.Counts{Tokens: 10, Leaves: 2}
		for range 2 * s.place.Experts() {
			c.Rows = append(c.Rows, 2)
		}
		s.counts = append(s.counts, c)
	}
	return s
}

// split gives the first leaf of an expert to rank 0 and the others to rank 1.
func split(expert, ranks int) alltoall.Allocation {
	return alltoall.Allocation{{Expert: expert, Rank: 0, End: 1}, {Expert: expert, Rank: 1, First: 1, End: 2 * ranks}}
}

// soon ends after a time in which a test is over unless it hangs.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dispatches begins an exchange with another Allocate, and dispatches all chunks.
func (s sharing) dispatches(ctx context.Context, x *alltoall.Exchange, rank int, w way,
	allocate func(*alltoall.Loads) (alltoall.Allocation, error),
) error {
	q := s.request(rank, w)
	if allocate != nil {
		q.Allocate = allocate
	}
	h, err := x.Begin(ctx, q)
	if err != nil {
		return err
	}
	defer h.Release()
	for chunk := range h.Chunks() {
		m, _, err := h.Dispatch(ctx, chunk)
		if err != nil {
			return err
		}
		want, _ := s.arriving(rank, h.Chunk(chunk), 0)
		if err := same("dispatched", want, m.Data); err != nil {
			return err
		}
	}
	return nil
}

// TestAllocationsThatDiffer are an error on every rank, which does not wait for the others to end.
// Where all messages have the length that their receivers expect it is exact.
func TestAllocationsThatDiffer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, ranks := range []int{2, 3, 4} {
		random := func() alltoall.Allocation { return randomAllocation(r, uniform(ranks, nil).place, 2*ranks) }
		for i, of := range [][2]alltoall.Allocation{
			{split(0, ranks), split(1, ranks)}, {split(0, ranks), nil}, {nil, split(0, ranks)}, {random(), random()}, {random(), random()},
		} {
			for _, a := range alltoall.Algorithms() {
				for _, cut := range []alltoall.Cut{alltoall.ByExperts(1), alltoall.ByExperts(3), alltoall.ByRanks(2)} {
					odd := ranks - 1
					for rank, err := range ranktest.Errors(t, ranks, func(tr transport.Transport) error {
						s := uniform(ranks, of[0])
						if int(tr.Rank()) == odd {
							s.a = of[1]
						}
						x, err := alltoall.New(tr, s.config(a))
						require.NoError(t, err)
						return s.dispatches(soon(t), x, int(tr.Rank()), way{cut: cut}, nil)
					}) {
						what := fmt.Sprintf("case %d of %d ranks, %v, %T, rank %d: %v", i, ranks, a, cut, rank, err)
						require.ErrorIs(t, err, transport.ErrMismatch, what)
						var fault *transport.Error
						require.ErrorAs(t, err, &fault, what)
						if i > 0 {
							continue
						}
						require.ErrorContains(t, err, "dispatch #2: ranks disagree about the job: its allocation of experts is not that of rank "+fmt.Sprint(rank), what)
						if want := transport.Rank(odd); rank != odd {
							require.Equal(t, want, transport.CulpritOf(err), what)
						}
						require.NotEqual(t, transport.Rank(rank), transport.CulpritOf(err), what)
					}
				}
			}
		}
	}
}

var errPlanner = errors.New("the planner broke")

// TestARankWithoutAnAllocation: if no rank has a valid one the batch is refused on all of them, and
// the next one goes through. If one rank alone has none that is an error of all.
func TestARankWithoutAnAllocation(t *testing.T) {
	const ranks = 3
	for says, bad := range map[string]func(*alltoall.Loads) (alltoall.Allocation, error){
		"Allocate: the planner broke": func(*alltoall.Loads) (alltoall.Allocation, error) { return nil, errPlanner },
		"run 0 is {Expert:9 ": func(*alltoall.Loads) (alltoall.Allocation, error) {
			return alltoall.Allocation{{Expert: 9, End: 6}}, nil
		},
		"72 rows for rank 2, MaxRows is 71": func(*alltoall.Loads) (alltoall.Allocation, error) {
			return alltoall.Allocation{{Expert: 0, Rank: 2, End: 6}, {Expert: 1, Rank: 2, End: 6}, {Expert: 2, Rank: 2, End: 6}, {Expert: 3, Rank: 2, End: 6}, {Expert: 4, Rank: 2, End: 6}, {Expert: 5, Rank: 2, End: 6}}, nil
		},
	} {
		for _, a := range alltoall.Algorithms() {
			for _, cut := range []alltoall.Cut{alltoall.ByExperts(2), alltoall.ByRanks(3)} {
				for _, alone := range []bool{false, true} {
					for rank, err := range ranktest.Errors(t, ranks, func(tr transport.Transport) error {
						s, me := uniform(ranks, split(3, ranks)), int(tr.Rank())
						cfg := s.config(a)
						cfg.MaxRows = 71
						x, err := alltoall.New(tr, cfg)
						require.NoError(t, err)
						allocate := bad
						if alone && me != 1 {
							allocate = nil
						}
						err = s.dispatches(soon(t), x, me, way{cut: cut}, allocate)
						if !alone {
							require.NoError(t, s.dispatches(soon(t), x, me, way{cut: cut}, nil), "the next batch")
						}
						return err
					}) {
						if !alone || rank == 1 {
							require.ErrorContains(t, err, fmt.Sprintf("rank %d: begin: ", rank))
							require.ErrorContains(t, err, says)
						}
						if alone {
							require.ErrorIs(t, err, transport.ErrMismatch)
							require.NotErrorIs(t, err, alltoall.ErrRefused)
							continue
						}
						require.ErrorIs(t, err, alltoall.ErrRefused)
					}
				}
			}
		}
	}
}

// TestMaxRowsBoundsWhatARankComputes, not what goes to the experts that it hosts.
func TestMaxRowsBoundsWhatARankComputes(t *testing.T) {
	for _, shared := range []bool{true, false} {
		for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
			s := sharing{job: job{place: alltoall.Hosted([]int{1, 0})}}
			s.counts = []alltoall.Counts{{Tokens: 4, Leaves: 1, Rows: []int{4}}, {Tokens: 4, Leaves: 1, Rows: []int{4}}}
			if shared {
				s.a = alltoall.Allocation{{Rank: 0, End: 1}, {Rank: 1, First: 1, End: 2}}
			}
			cfg := s.config(alltoall.Direct)
			cfg.MaxRows = 4
			x, err := alltoall.New(tr, cfg)
			require.NoError(t, err)
			return s.dispatches(soon(t), x, int(tr.Rank()), way{}, nil)
		}) {
			if shared {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, transport.ErrTooLarge)
			require.ErrorIs(t, err, alltoall.ErrRefused)
			require.ErrorContains(t, err, "8 rows for rank 0, MaxRows is 4")
		}
	}
}

// TestRefuseWithAllCounts: a rank may refuse as without.
func TestRefuseWithAllCounts(t *testing.T) {
	for rank, err := range ranktest.Errors(t, 3, func(tr transport.Transport) error {
		s := uniform(3, split(0, 3))
		x, err := alltoall.New(tr, s.config(alltoall.Bruck))
		require.NoError(t, err)
		if tr.Rank() == 1 {
			err = x.Refuse(soon(t))
		} else {
			err = s.dispatches(soon(t), x, int(tr.Rank()), way{}, nil)
		}
		require.NoError(t, s.dispatches(soon(t), x, int(tr.Rank()), way{}, nil), "the next batch")
		return err
	}) {
		if rank == 1 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, alltoall.ErrRefused)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
	}
}

// TestAllCountsTravelInAsManyMessages, with an allocation and without, if all ranks have rows for
// each other.
func TestAllCountsTravelInAsManyMessages(t *testing.T) {
	const ranks = 4
	for _, a := range []alltoall.Algorithm{alltoall.Direct, alltoall.Pairwise} {
		for _, cut := range []alltoall.Cut{alltoall.ByExperts(1), alltoall.ByExperts(2), alltoall.ByRanks(1)} {
			var sent [3]atomic.Int64
			for i := range sent {
				for _, err := range ranktest.Errors(t, ranks, func(tr transport.Transport) error {
					s, me := uniform(ranks, nil), int(tr.Rank())
					cfg := s.config(a)
					cfg.Allocates = i > 0
					if i == 2 {
						s.a = split(0, ranks)
					}
					x, err := alltoall.New(strict{tr, &sent[i]}, cfg)
					require.NoError(t, err)
					q := s.request(me, way{cut: cut})
					if i == 0 {
						q.Allocate, q.RowTime = nil, 0
					}
					h, err := x.Begin(soon(t), q)
					require.NoError(t, err)
					defer h.Release()
					var home blas32.General
					for chunk := range h.Chunks() {
						m, _, err := h.Dispatch(soon(t), chunk)
						require.NoError(t, err)
						if home, err = h.Combine(soon(t), chunk, m); err != nil {
							return err
						}
					}
					return same("combined", q.Rows.Data, home.Data)
				}) {
					require.NoError(t, err)
				}
			}
			require.Positive(t, sent[0].Load())
			require.Equal(t, sent[0].Load(), sent[1].Load(), "%v, %T", a, cut)
			require.LessOrEqual(t, sent[2].Load(), sent[0].Load(), "%v, %T", a, cut)
		}
	}
}

// TestCountsOfAnyLength: those of ranks that differ much in leaves, longer than what travels with
// its length in one message.
func TestCountsOfAnyLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, a := range alltoall.Algorithms() {
		s := sharing{job: job{place: alltoall.Even(100, 4)}, top: alltoall.Nodes(4, 2)}
		for rank := range 4 {
			c := alltoall.Counts{Tokens: 60 * rank, Leaves: 60 * rank, Rows: make([]int, 100*60*rank)}
			for i := range c.Rows {
				c.Rows[i] = r.IntN(20) / 19
			}
			s.counts = append(s.counts, c)
		}
		s.a = randomAllocation(r, s.place, s.leaves())
		ranktest.Succeed(t, ranktest.Errors(t, 4, func(tr transport.Transport) error {
			return closing(tr, s.check(tr, way{a: a, cut: alltoall.ByExperts(3), again: 2}))
		}))
	}
}

// TestRequestsThatAllocate need Config.Allocates, and no time is below 0.
func TestRequestsThatAllocate(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 1, func(tr transport.Transport) error {
		s := uniform(1, nil)
		for says, change := range map[string]func(c *alltoall.Config, q *alltoall.Request){
			"Allocate true, RowTime 0 and Allocates false":  func(c *alltoall.Config, q *alltoall.Request) { c.Allocates = false },
			"Allocate false, RowTime 1 and Allocates false": func(c *alltoall.Config, q *alltoall.Request) { c.Allocates, q.Allocate, q.RowTime = false, nil, 1 },
			"Allocate false, RowTime -1 and Allocates true": func(c *alltoall.Config, q *alltoall.Request) { q.Allocate, q.RowTime = nil, -1 },
		} {
			cfg, q := s.config(alltoall.Direct), s.request(0, way{})
			change(&cfg, &q)
			x, err := alltoall.New(tr, cfg)
			require.NoError(t, err)
			_, err = x.Begin(soon(t), q)
			require.ErrorContains(t, err, "rank 0: begin: "+says)
		}
		x, err := alltoall.New(tr, s.config(alltoall.Direct))
		require.NoError(t, err)
		like, err := x.Begin(soon(t), s.request(0, way{}))
		require.NoError(t, err)
		q := s.request(0, way{})
		q.Like = like
		_, err = x.Begin(soon(t), q)
		require.ErrorContains(t, err, "Allocate and Like, want one of them")
		other, err := alltoall.New(tr, alltoall.Config{Placement: s.place, Dim: dim})
		require.NoError(t, err)
		q.Allocate, q.RowTime = nil, 0
		_, err = other.Begin(soon(t), q)
		require.ErrorContains(t, err, "Like has Allocates, want it here too")
		other, err = alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim})
		require.NoError(t, err)
		_, err = other.Begin(soon(t), alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}, Like: like})
		require.ErrorContains(t, err, "Like has experts at [0 2], want [0 1]")
		like.Release()
		_, err = x.Begin(soon(t), q)
		require.ErrorContains(t, err, "Like after its Release")
		x, err = alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim})
		require.NoError(t, err)
		h, err := x.Begin(soon(t), alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}})
		require.NoError(t, err)
		require.Nil(t, h.Loads())
		require.Empty(t, h.Allocation())
		h.Release()
		return nil
	}))
}
