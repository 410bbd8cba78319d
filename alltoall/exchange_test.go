package alltoall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

const dim = 3

// job is a random exchange: what every rank sends, leaf by leaf.
type job struct {
	place  alltoall.Placement
	counts []alltoall.Counts
}

func randomJob(r *rand.Rand, ranks int) job {
	experts := r.IntN(2*ranks + 2)
	j := job{place: alltoall.Even(experts, ranks)}
	for range ranks {
		leaves := r.IntN(4)
		c := alltoall.Counts{Leaves: leaves, Tokens: leaves * 5, Rows: make([]int, experts*leaves)}
		for i := range c.Rows {
			c.Rows[i] = r.IntN(4) * r.IntN(2)
		}
		j.counts = append(j.counts, c)
	}
	return j
}

// row is the content of the i-th row that rank s sends to expert e from leaf l: it says where it comes from.
func row(s, e, l, i int) []float32 {
	return []float32{float32(s), float32(1000*e + l), float32(i)}
}

// outgoing lists the rows of rank s as Dispatch wants them: by expert, then by leaf.
func (j job) outgoing(s int) blas32.General {
	c := j.counts[s]
	m := blas32.General{Cols: dim, Stride: dim}
	for e := range j.place.Experts() {
		for l := range c.Leaves {
			for i := range c.Rows[e*c.Leaves+l] {
				m.Data = append(m.Data, row(s, e, l, i)...)
				m.Rows++
			}
		}
	}
	return m
}

// incoming is the slow reference: what rank d must get, and the end of each expert's rows in each leaf.
func (j job) incoming(d int) (data []float32, ends []int) {
	begin, end := j.place.Of(d)
	for e := begin; e < end; e++ {
		for s, c := range j.counts {
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

// onRanks runs do on every rank of an inproc world and returns their errors.
func onRanks(t *testing.T, ranks int, do func(tr transport.Transport) error) []error {
	t.Helper()
	ends := inproc.New(ranks)
	errs := make([]error, ranks)
	var wg sync.WaitGroup
	for r, tr := range ends {
		wg.Go(func() { errs[r] = do(tr) })
	}
	wg.Wait()
	for _, tr := range ends {
		require.NoError(t, tr.Close())
	}
	return errs
}

func TestRowsArriveInOrderAndComeHome(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{1, 2, 3, 4, 7, 8} {
		for range 20 {
			j := randomJob(r, ranks)
			for rank, err := range onRanks(t, ranks, j.check) {
				require.NoError(t, err, "seed %d, %d ranks, rank %d, %+v", seed, ranks, rank, j)
			}
		}
	}
}

// check runs a forward and a backward round of j on one rank and compares everything with the reference.
func (j job) check(tr transport.Transport) error {
	ctx, me := context.Background(), int(tr.Rank())
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim})
	if err != nil {
		return err
	}
	want, ends := j.incoming(me)
	for range 2 { // the second time in recycled memory
		out := j.outgoing(me)
		h, in, err := x.Dispatch(ctx, j.counts[me], out)
		if err != nil {
			return err
		}
		if err := same("dispatched", want, in.Data); err != nil {
			return err
		}
		if got := h.Plan().Ends; fmt.Sprint(got) != fmt.Sprint(ends) {
			return fmt.Errorf("ends %v, want %v", got, ends)
		}
		home, err := h.Combine(ctx, in)
		if err != nil {
			return err
		}
		if err := same("combined", out.Data, home.Data); err != nil {
			return err
		}
		again, err := h.Dispatch(ctx, home)
		if err != nil {
			return err
		}
		if err := same("dispatched again", want, again.Data); err != nil {
			return err
		}
		h.Release()
	}
	return nil
}

func same(what string, want, got []float32) error {
	if len(want) != len(got) {
		return fmt.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range want {
		if want[i] != got[i] {
			return fmt.Errorf("%s: number %d is %v, want %v", what, i, got[i], want[i])
		}
	}
	return nil
}

func TestRefuseFailsEveryRankAndHarmsNone(t *testing.T) {
	place := alltoall.Even(4, 3)
	errs := onRanks(t, 3, func(tr transport.Transport) error {
		ctx := context.Background()
		x, err := alltoall.New(tr, alltoall.Config{Placement: place, Dim: dim})
		if err != nil {
			return err
		}
		counts := alltoall.Counts{Tokens: 1, Leaves: 1, Rows: []int{1, 1, 1, 1}}
		rows := blas32.General{Rows: 4, Cols: dim, Stride: dim, Data: make([]float32, 4*dim)}
		if tr.Rank() == 1 {
			err = x.Refuse(ctx)
		} else {
			_, _, err = x.Dispatch(ctx, counts, rows)
		}
		if _, _, again := x.Dispatch(ctx, counts, rows); again != nil {
			return fmt.Errorf("the next batch failed: %w", again)
		}
		return err
	})
	require.NoError(t, errs[1])
	for _, r := range []int{0, 2} {
		require.ErrorIs(t, errs[r], alltoall.ErrRefused)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(errs[r]))
	}
}

func TestRanksThatDisagreeAreNamed(t *testing.T) {
	errs := onRanks(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim + int(tr.Rank())})
		if err != nil {
			return err
		}
		_, _, err = x.Dispatch(context.Background(), alltoall.Counts{Rows: []int{}}, blas32.General{})
		return err
	})
	require.ErrorIs(t, errs[0], transport.ErrMismatch)
	require.ErrorContains(t, errs[0], "rank 1: counts #1: ranks disagree about the job: its layer has dim 4 and 2 experts, here 3 and 2")
	require.Equal(t, transport.Rank(0), transport.CulpritOf(errs[1]))
}

func TestTooManyRowsAreRefusedBeforeTheyAreAllocated(t *testing.T) {
	errs := onRanks(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 2), Dim: dim, MaxRows: 10})
		if err != nil {
			return err
		}
		rows := blas32.General{Rows: 6, Cols: dim, Stride: dim, Data: make([]float32, 6*dim)}
		_, _, err = x.Dispatch(context.Background(), alltoall.Counts{Tokens: 6, Leaves: 1, Rows: []int{6}}, rows)
		if tr.Rank() == 0 { // its silence must not hold up the rank that refused
			tr.Close()
		}
		return err
	})
	require.ErrorIs(t, errs[1], transport.ErrTooLarge)
	require.ErrorContains(t, errs[1], "12 rows for rank 1 from it and the ranks before, MaxRows is 10")
}

// TestMaxRowsBoundsRowsAlone: tokens that stay away, and groups of tokens times experts, are no rows.
func TestMaxRowsBoundsRowsAlone(t *testing.T) {
	errs := onRanks(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(8, 2), Dim: dim, MaxRows: 4})
		if err != nil {
			return err
		}
		counts := alltoall.Counts{Tokens: 6, Leaves: 6, Rows: make([]int, 8*6)}
		counts.Rows[0], counts.Rows[47] = 1, 1 // the first token to the first expert, the last to the last
		rows := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
		_, in, err := x.Dispatch(context.Background(), counts, rows)
		require.Equal(t, 2, in.Rows)
		return err
	})
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
}

func TestNewReportsEveryFault(t *testing.T) {
	errs := onRanks(t, 2, func(tr transport.Transport) error {
		_, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(4, 3), MaxRows: -1})
		return err
	})
	for _, part := range []string{"3 ranks on a transport of 2", "Dim is 0", "MaxRows is -1"} {
		require.ErrorContains(t, errs[0], part)
	}
}

func ExamplePlan() {
	place := alltoall.Even(3, 2) // expert 0 on rank 0, experts 1 and 2 on rank 1
	from := []alltoall.Counts{
		{Tokens: 4, Leaves: 1, Rows: []int{2, 1}},
		{Tokens: 3, Leaves: 1, Rows: []int{0, 3}},
	}
	fmt.Print(alltoall.NewPlan(1, place, []int{4, 3}, from))
	// Output:
	// rank 1 of 2: sends [4 3], receives 6 rows in 2 leaves
	//   expert +0: [0,2) from 0 [2,2) from 1
	//   expert +1: [2,3) from 0 [3,6) from 1
}

// TestWhatIsNotThereIsRefusedHere and not where rows are gathered, beside the exchange of counts.
func TestWhatIsNotThereIsRefusedHere(t *testing.T) {
	for _, err := range onRanks(t, 1, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim, Wire: alltoall.Everywhere(alltoall.BF16)})
		require.NoError(t, err)
		counts := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{2}}
		short := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim-1)}
		require.Panics(t, func() { _, _, _ = x.Dispatch(context.Background(), counts, short) })
		whole := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
		for _, bad := range []int32{-1, 2} {
			require.Panics(t, func() { _, _, _ = x.DispatchTokens(context.Background(), counts, whole, []int32{0, bad}) })
		}
		h, _, err := x.DispatchTokens(context.Background(), counts, whole, []int32{0, 1})
		if err == nil {
			h.Release()
		}
		return err
	}) {
		require.NoError(t, err)
	}
}
