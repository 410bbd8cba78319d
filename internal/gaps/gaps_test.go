package gaps_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// pieces returns a job of n pieces, which calls each with its number.
func pieces(n int, piece func(i int) error) func(context.Context, *gaps.Job) error {
	return func(_ context.Context, j *gaps.Job) error {
		for i := range n {
			if err := j.Piece(func() error { return piece(i) }); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestPiecesWaitForExchanges: none begins while rows travel, and one that has begun before goes on
// beside them. The exchange waits for none.
func TestPiecesWaitForExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q gaps.Queue
		begun, left := 0, make(chan struct{})
		var counts gaps.Counts
		run := pieces(4, func(int) error {
			begun++
			<-left
			return nil
		})
		j := q.Add(func(ctx context.Context, j *gaps.Job) error {
			j.Counts = &counts
			return run(ctx, j)
		})
		synctest.Wait()
		require.Equal(t, 1, begun, "nothing travels")
		q.Begin()
		q.Begin()
		left <- struct{}{}
		synctest.Wait()
		require.Equal(t, 1, begun, "one piece is beside the exchanges")
		q.End()
		synctest.Wait()
		require.Equal(t, 1, begun, "the other exchange is under way")
		q.End()
		synctest.Wait()
		require.Equal(t, 2, begun)
		q.Begin()
		go func() {
			for range 3 {
				left <- struct{}{}
			}
		}()
		require.NoError(t, j.Wait(t.Context()))
		require.Equal(t, 4, begun)
		all, inGaps := counts.Load()
		require.Equal(t, [2]int{4, 2}, [2]int{all, inGaps}, "the last two, for which somebody waited, travelled beside rows")
		q.End()
		q.Close()
	})
}

// TestAnExchangeSharesTheLinkWithOnePiece, at random: of the time in which rows travel all but the
// rest of one piece is theirs alone.
func TestAnExchangeSharesTheLinkWithOnePiece(t *testing.T) {
	const piece = 5 * time.Millisecond
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var q gaps.Queue
			var jobs []*gaps.Job
			var travels atomic.Bool
			pieceBegun := 0
			for range 4 {
				jobs = append(jobs, q.Add(pieces(1+r.IntN(30), func(int) error {
					if travels.Load() {
						t.Error("it begins while rows travel")
					}
					pieceBegun++
					time.Sleep(piece) // sleep-ok: the fake clock of synctest
					return nil
				})))
			}
			for range 10 {
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond) // sleep-ok: the fake clock of synctest
				synctest.Wait()
				q.Begin()
				travels.Store(true)
				before := pieceBegun
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond) // sleep-ok: the fake clock of synctest
				synctest.Wait()
				require.Equal(t, before, pieceBegun)
				travels.Store(false)
				q.End()
			}
			for _, j := range jobs {
				require.NoError(t, j.Wait(t.Context()))
			}
		})
	}
}

// TestJobsRunInOrder, whole after whole.
func TestJobsRunInOrder(t *testing.T) {
	var q gaps.Queue
	var order []int
	q.Begin()
	var last *gaps.Job
	for n := range 3 {
		last = q.Add(pieces(2, func(int) error {
			order = append(order, n)
			return nil
		}))
	}
	q.End()
	q.Close()
	require.NoError(t, last.Wait(t.Context()))
	require.Equal(t, []int{0, 0, 1, 1, 2, 2}, order)
}

// TestWhatSomebodyWaitsForRuns although rows travel and another job is first, whose turn stays.
func TestWhatSomebodyWaitsForRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q gaps.Queue
		q.Begin()
		var first, second atomic.Int32
		one := q.Add(pieces(2, func(int) error { first.Add(1); return nil }))
		two := q.Add(pieces(2, func(int) error { second.Add(1); return nil }))
		require.NoError(t, two.Wait(t.Context()))
		synctest.Wait()
		require.EqualValues(t, 0, first.Load())
		require.EqualValues(t, 2, second.Load())
		q.End()
		synctest.Wait()
		require.EqualValues(t, 2, first.Load())
		require.NoError(t, one.Wait(t.Context()))
		require.NoError(t, one.Wait(t.Context()), "again")
	})
}

// TestErrorsAndContexts: a job ends at its first error, and with the context of who waits for it.
func TestErrorsAndContexts(t *testing.T) {
	var q gaps.Queue
	broken := errors.New("no ink")
	begun := 0
	j := q.Add(pieces(3, func(i int) error {
		if begun++; i == 1 {
			return broken
		}
		return nil
	}))
	require.Equal(t, broken, j.Wait(t.Context()))
	require.Equal(t, 2, begun)

	q.Begin()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	j = q.Add(func(ctx context.Context, j *gaps.Job) error {
		return j.Piece(func() error {
			<-ctx.Done()
			return ctx.Err()
		})
	})
	err := j.Wait(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "that of the one who waits")
	q.End()
	j = q.Add(pieces(1, func(int) error { return nil }))
	require.NoError(t, j.Wait(t.Context()), "the queue goes on")
}

// TestCloseWaitsForAll jobs, although rows seem to travel.
func TestCloseWaitsForAll(t *testing.T) {
	var q gaps.Queue
	q.Begin()
	var ran atomic.Int32
	for range 3 {
		q.Add(pieces(2, func(int) error { ran.Add(1); return nil }))
	}
	q.Close()
	require.EqualValues(t, 6, ran.Load())
}

// TestRanksOutOfPhase: pieces that two ranks share end although the gaps of the one are where the
// other has exchanges, and although they add jobs in other orders, once both wait.
func TestRanksOutOfPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q [2]gaps.Queue
		var met [2]sync.WaitGroup // of the ranks in each job, whose only piece needs both
		for i := range met {
			met[i].Add(2)
		}
		meet := func(i int) func(context.Context, *gaps.Job) error {
			return pieces(1, func(int) error {
				met[i].Done()
				met[i].Wait()
				return nil
			})
		}
		q[0].Begin()
		var jobs [2][2]*gaps.Job
		for rank := range q {
			for n := range met {
				jobs[rank][(n+rank)%2] = q[rank].Add(meet((n + rank) % 2))
			}
		}
		synctest.Wait()
		var ranks sync.WaitGroup
		var errs [2]error
		for rank := range q {
			ranks.Go(func() { errs[rank] = errors.Join(jobs[rank][0].Wait(t.Context()), jobs[rank][1].Wait(t.Context())) })
		}
		ranks.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		q[0].End()
	})
}
