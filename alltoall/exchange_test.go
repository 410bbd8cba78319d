package alltoall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

const dim = 3

// job is a random exchange: what every rank sends, leaf by leaf.
type job struct {
	place  alltoall.Placement
	counts []alltoall.Counts
	groups int // of each rank's experts
}

func randomJob(r *rand.Rand, ranks int) job {
	experts := r.IntN(2*ranks + 2)
	return job{place: alltoall.Even(experts, ranks), counts: randomCounts(r, ranks, experts)}
}

// row is the content of the i-th row that rank s sends to expert e from leaf l.
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

// incoming is the slow reference: what rank d must get, and the end of the rows of each expert and
// leaf.
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

// whole begins an exchange and dispatches its only chunk.
func whole(ctx context.Context, x *alltoall.Exchange, r alltoall.Request) (*alltoall.Handle, blas32.General, error) {
	h, err := x.Begin(ctx, r)
	if err != nil {
		return nil, blas32.General{}, err
	}
	in, _, err := h.Dispatch(ctx, 0)
	return h, in, err
}

func TestRowsArriveInOrderAndComeHome(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{1, 2, 3, 4, 7, 8} {
		for range 20 {
			j := randomJob(r, ranks)
			for rank, err := range ranktest.Errors(t, ranks, j.check) {
				require.NoError(t, err, "seed %d, %d ranks, rank %d, %+v", seed, ranks, rank, j)
			}
		}
	}
}

// check runs a forward and a backward trip of j on one rank and compares all with the reference.
func (j job) check(tr transport.Transport) error {
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim})
	if err != nil {
		return err
	}
	for range 2 { // the second time in recycled memory
		if err := j.trips(x, int(tr.Rank())); err != nil {
			return err
		}
	}
	return nil
}

// trips runs a forward and a backward trip of j on rank me of an exchange.
func (j job) trips(x *alltoall.Exchange, me int) error {
	ctx := context.Background()
	want, _ := j.incoming(me)
	out := j.outgoing(me)
	h, home, err := j.firstTrip(ctx, x, me, alltoall.Request{Counts: j.counts[me], Rows: out})
	if err != nil {
		return err
	}
	again, err := h.DispatchBack(ctx, 0, home)
	if err != nil {
		return err
	}
	if err := same("dispatched again", want, again.Data); err != nil {
		return err
	}
	h.Release()
	return nil
}

// firstTrip sends the rows of a request of j there, and the same rows back as answers, which it
// returns with the handle.
func (j job) firstTrip(ctx context.Context, x *alltoall.Exchange, me int, r alltoall.Request) (
	h *alltoall.Handle, home blas32.General, err error,
) {
	want, ends := j.incoming(me)
	h, in, err := whole(ctx, x, r)
	if err != nil {
		return h, home, err
	}
	if err := same("dispatched", want, in.Data); err != nil {
		return h, home, err
	}
	if got := h.Plan().Ends; fmt.Sprint(got) != fmt.Sprint(ends) {
		return h, home, fmt.Errorf("ends %v, want %v", got, ends)
	}
	if home, err = h.Combine(ctx, 0, in); err != nil {
		return h, home, err
	}
	return h, home, same("combined", j.outgoing(me).Data, home.Data)
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
	errs := ranktest.Errors(t, 3, func(tr transport.Transport) error {
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
			_, _, err = whole(ctx, x, alltoall.Request{Counts: counts, Rows: rows})
		}
		if _, _, again := whole(ctx, x, alltoall.Request{Counts: counts, Rows: rows}); again != nil {
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
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim + int(tr.Rank())})
		if err != nil {
			return err
		}
		_, _, err = whole(context.Background(), x, alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}})
		return err
	})
	require.ErrorIs(t, errs[0], transport.ErrMismatch)
	require.ErrorContains(t, errs[0], "rank 1: counts #1: ranks disagree about the job: its layer has dim 4 and 2 experts, here 3 and 2")
	require.Equal(t, transport.Rank(0), transport.CulpritOf(errs[1]))
}

func TestTooManyRowsAreRefusedBeforeTheyAreAllocated(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 2), Dim: dim, MaxRows: 10})
		if err != nil {
			return err
		}
		rows := blas32.General{Rows: 6, Cols: dim, Stride: dim, Data: make([]float32, 6*dim)}
		_, _, err = whole(context.Background(), x, alltoall.Request{Counts: alltoall.Counts{Tokens: 6, Leaves: 1, Rows: []int{6}}, Rows: rows})
		if tr.Rank() == 0 { // its silence must not hold up the rank that refused
			tr.Close()
		}
		return err
	})
	require.ErrorIs(t, errs[1], transport.ErrTooLarge)
	require.ErrorContains(t, errs[1], "12 rows for rank 1 from it and the ranks before, MaxRows is 10")
}

// TestMaxRowsBoundsRowsAlone, not tokens that no expert gets, nor groups of tokens times experts.
func TestMaxRowsBoundsRowsAlone(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(8, 2), Dim: dim, MaxRows: 2})
		if err != nil {
			return err
		}
		counts := alltoall.Counts{Tokens: 6, Leaves: 6, Rows: make([]int, 8*6)}
		// The first token goes to the first expert, the last to the last.
		counts.Rows[0], counts.Rows[47] = 1, 1
		rows := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
		_, in, err := whole(context.Background(), x, alltoall.Request{Counts: counts, Rows: rows})
		require.Equal(t, 2, in.Rows)
		return err
	})
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
}

func TestNewReportsEveryFault(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		_, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(4, 3), MaxRows: -1, Groups: -2})
		return err
	})
	for _, part := range []string{"3 ranks on a transport of 2", "Dim is 0", "MaxRows is -1", "Groups is -2"} {
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

// TestFaultyRequests: what is not consistent is an error of this rank that says so, before a
// goroutine reads it.
func TestFaultyRequests(t *testing.T) {
	matrix := func(rows, cols, stride, elements int) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: stride, Data: make([]float32, elements)}
	}
	counts := func(change func(c *alltoall.Counts)) alltoall.Counts {
		c := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{2}}
		change(&c)
		return c
	}
	good := counts(func(*alltoall.Counts) {})
	two := matrix(2, dim, dim, 2*dim)
	for says, r := range map[string]alltoall.Request{
		"2 rows of 3 columns with stride 3, but 5 elements":    {Counts: good, Rows: matrix(2, dim, dim, 2*dim-1)},
		"1 rows × 3 (stride 3), want 2 × 3, packed":            {Counts: good, Rows: matrix(1, dim, dim, dim)},
		"2 rows × 3 (stride 4), want 2 × 3, packed":            {Counts: good, Rows: matrix(2, dim, dim+1, 2*dim+2)},
		"row 1 is row -1 of 2":                                 {Counts: good, Rows: two, Token: []int32{0, -1}},
		"row 1 is row 2 of 2":                                  {Counts: good, Rows: two, Token: []int32{0, 2}},
		"1 rows of 3 columns in Token, want 2 of 3":            {Counts: good, Rows: two, Token: []int32{0}},
		"2 rows of 4 columns in Token, want 2 of 3":            {Counts: good, Rows: matrix(2, dim+1, dim+1, 8), Token: []int32{0, 1}},
		"but 1 elements, which are too few":                    {Counts: good, Rows: matrix(2, dim, dim, 1), Token: []int32{0, 1}},
		"1 counts for 1 experts × 2 leaves":                    {Counts: counts(func(c *alltoall.Counts) { c.Leaves = 2 }), Rows: two},
		"1 counts for 1 experts × -1 leaves":                   {Counts: counts(func(c *alltoall.Counts) { c.Leaves = -1 }), Rows: two},
		"2 tokens, 3 of them padding, want at most 2147483647": {Counts: counts(func(c *alltoall.Counts) { c.Padding = 3 }), Rows: two},
		"2 tokens, -1 of them padding":                         {Counts: counts(func(c *alltoall.Counts) { c.Padding = -1 }), Rows: two},
		"a count of expert 0 is -2 rows":                       {Counts: counts(func(c *alltoall.Counts) { c.Rows[0] = -2 }), Rows: two},
		"Cut is alltoall.ByExperts(0), want 1 chunk or more":   {Counts: good, Rows: two, Cut: alltoall.ByExperts(0)},
		"Cut is alltoall.ByRanks(-3), want 1 chunk or more":    {Counts: good, Rows: two, Cut: alltoall.ByRanks(-3)},
	} {
		for _, err := range ranktest.Errors(t, 1, func(tr transport.Transport) error {
			x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim, Wire: alltoall.Everywhere(alltoall.BF16)})
			require.NoError(t, err)
			_, err = x.Begin(context.Background(), r)
			require.ErrorContains(t, err, "rank 0: begin: ")
			require.ErrorContains(t, err, says)
			require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
			h, _, err := whole(context.Background(), x, alltoall.Request{Counts: good, Rows: two, Token: []int32{0, 1}})
			if err == nil {
				h.Release()
			}
			return err
		}) {
			require.NoError(t, err, "the next request")
		}
	}
}
