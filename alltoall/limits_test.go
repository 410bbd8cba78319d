package alltoall

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// limited makes the exchange of rank 0 of two, with low limits. It hosts two experts, rank 1 one.
func limited(t *testing.T, leafRows int) *Exchange {
	t.Helper()
	ends := inproc.New(2)
	t.Cleanup(func() {
		for _, end := range ends {
			_ = end.Close()
		}
	})
	x, err := New(ends[0], Config{Placement: Hosted([]int{2, 1}), Dim: 1, MaxRows: 9, LeafRows: leafRows})
	require.NoError(t, err)
	x.counted = 6
	return x
}

// peersRefuse returns the error of the first rank that refuses what x would tell it of c.
func peersRefuse(t *testing.T, x *Exchange, c Counts) error {
	t.Helper()
	for r := range x.size() {
		peer, err := New(x.t, Config{Placement: x.placement, Dim: x.dim, MaxRows: x.maxRows, LeafRows: x.leaf})
		require.NoError(t, err)
		peer.counted = x.counted
		x.round.begin()
		if _, err := peer.decodeAll([][]byte{x.encodeCounts(c, r, crossings{})}); err != nil {
			return err
		}
	}
	return nil
}

// checks is the error of x for a request of these counts, with as many rows.
func checks(x *Exchange, c Counts) error {
	rows := 0
	for _, n := range c.Rows {
		rows += max(n, 0)
	}
	src := source{m: blas32.General{Rows: rows, Cols: 1, Stride: 1, Data: make([]float32, rows)}}
	return x.checkRequest(&Request{Counts: c, Rows: src.m, Cut: ByExperts(1)}, src)
}

// TestARequestIsRefusedHereIfAPeerWouldRefuseIt, and only then.
func TestARequestIsRefusedHereIfAPeerWouldRefuseIt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, leafRows := range []int{0, 3} {
		x, refused, taken := limited(t, leafRows), 0, 0
		for range 5000 {
			c := Counts{Tokens: random.IntN(8), Leaves: random.IntN(5)}
			c.Padding = random.IntN(c.Tokens + 2)
			for range 3 * c.Leaves {
				c.Rows = append(c.Rows, max(0, random.IntN(9)-5))
			}
			here, there := checks(x, c), peersRefuse(t, x, c)
			require.Equal(t, there != nil, here != nil, "%+v: here %v, there %v", c, here, there)
			if here == nil {
				taken++
				continue
			}
			refused++
			require.Equal(t, transport.Rank(0), transport.CulpritOf(here))
			require.ErrorContains(t, here, "rank 0: begin: ")
		}
		require.Greater(t, min(refused, taken), 200, "%d refused, %d taken", refused, taken)
	}
}

// TestLimitsOfARequest: an error gives the value and the limit.
func TestLimitsOfARequest(t *testing.T) {
	for says, c := range map[string]Counts{
		"1 leaves of 0 tokens, want 0":                                                    {Leaves: 1, Rows: make([]int, 3)},
		"2 leaves of 1 tokens, want 1 to 1":                                               {Tokens: 1, Leaves: 2, Rows: make([]int, 6)},
		"0 leaves of 2 tokens, want 1 to 2":                                               {Tokens: 2, Rows: []int{}},
		"2 rows for expert 2 of 3 tokens, 2 of them padding, in 1 leaves, want at most 1": {Tokens: 3, Padding: 2, Leaves: 1, Rows: []int{0, 0, 2}},
		"a count of expert 1 is -1 rows, want 0 to 2147483647":                            {Tokens: 3, Leaves: 1, Rows: []int{0, -1, 0}},
		"8 groups of tokens × experts of rank 0, MaxCounts is 6":                          {Tokens: 4, Leaves: 4, Rows: make([]int, 12)},
		"10 rows for rank 0, MaxRows is 9":                                                {Tokens: 5, Leaves: 1, Rows: []int{5, 5, 0}},
	} {
		x := limited(t, 0)
		err := checks(x, c)
		require.ErrorContains(t, err, "rank 0: begin: ")
		require.ErrorContains(t, err, says)
		require.Zero(t, x.seq, "nothing was sent")
	}
	for _, c := range []Counts{
		{Tokens: 4, Leaves: 4, Rows: make([]int, 12)}, {Tokens: 5, Leaves: 1, Rows: []int{5, 5, 0}},
	} {
		require.ErrorIs(t, checks(limited(t, 0), c), transport.ErrTooLarge)
	}
	x := limited(t, 1<<24)
	over := int64(math.MaxInt32) + 1 // negative where an int has 32 bits
	huge := Counts{Tokens: 9, Leaves: 2, Rows: []int{1, int(over), 0, 0, 0, 0}}
	require.ErrorContains(t, x.checkLimits(huge), "rows, want 0 to 2147483647")
}
