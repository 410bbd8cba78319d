package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestSlicesFollowEachOther(t *testing.T) {
	for n := 1; n < 10; n++ {
		for length := range 40 {
			next := 0
			for r := range n {
				lo, hi := collective.Slice(length, r, n)
				require.Equal(t, next, lo)
				require.InDelta(t, float64(length)/float64(n), hi-lo, 1)
				next = hi
			}
			require.Equal(t, length, next)
		}
	}
}

func TestReduceScatterAndAllReduce(t *testing.T) {
	random := seeded(t)
	onRanks(t, func(t *testing.T, n int) {
		for _, length := range []int{0, 1, n - 1, n, 1000, 40_003} {
			all := vectors(random, n, length)
			want := slices.Clone(serial(all, length))
			allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
				x := slices.Clone(all[c.Rank()])
				part, err := c.ReduceScatter(ctx, x)
				if err != nil {
					return err
				}
				lo, hi := collective.Slice(length, int(c.Rank()), n)
				if err := sameBits(part, want[lo:hi]); err != nil {
					return fmt.Errorf("reduce-scatter of %d: %w", length, err)
				}
				if err := sameBits(x[:lo], all[c.Rank()][:lo]); err != nil {
					return fmt.Errorf("outside the slice: %w", err)
				}
				x = slices.Clone(all[c.Rank()])
				if err := c.AllReduce(ctx, x); err != nil {
					return err
				}
				return sameBits(x, want)
			})
		}
	})
}

// TestReduceScatterV: each rank gets the sum of the vectors for it, in the bits of the tree over
// ranks, and the vectors for others stay.
func TestReduceScatterV(t *testing.T) {
	random := seeded(t)
	onRanks(t, func(t *testing.T, n int) {
		parts, want := make([][][]float32, n), make([][]float32, n) // by sender and receiver; by receiver
		for to := range n {
			length := []int{0, 1, 17, 40_003}[random.IntN(4)]
			all := vectors(random, n, length)
			for from, v := range all {
				parts[from] = append(parts[from], v)
			}
			want[to] = slices.Clone(serial(all, length))
		}
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			me := c.Rank()
			for range 2 {
				own := make([][]float32, n)
				for r, part := range parts[me] {
					own[r] = slices.Clone(part)
				}
				sum, err := c.ReduceScatterV(ctx, own)
				if err != nil {
					return err
				}
				if err := sameBits(sum, want[me]); err != nil {
					return err
				}
				own[me] = parts[me][me]
				for r, part := range own {
					if err := sameBits(part, parts[me][r]); err != nil {
						return fmt.Errorf("what was for rank %d: %w", r, err)
					}
				}
			}
			return nil
		})
	})
	_, err := collective.New(inproc.New(1)[0]).ReduceScatterV(t.Context(), nil)
	require.ErrorContains(t, err, "0 vectors for 1 ranks")
}

// treeCase is some leaves and how they are spread over ranks.
type treeCase struct {
	lengths []int
	leaves  [][][]float32 // by sum, then by leaf
	counts  []int         // by rank
}

func randomTree(r *rand.Rand, ranks int) treeCase {
	k := treeCase{counts: make([]int, ranks)}
	n := r.IntN(40)
	for range n {
		k.counts[r.IntN(ranks)]++
	}
	for range 1 + r.IntN(4) {
		length := []int{0, 1, ranks, 100, 3001}[r.IntN(5)]
		k.lengths = append(k.lengths, length)
		k.leaves = append(k.leaves, vectors(r, n, length))
	}
	return k
}

// hold enters the leaves of one rank.
func (k treeCase) hold(sums []*tree.Sum, rank transport.Rank) {
	first := 0
	for _, n := range k.counts[:rank] {
		first += n
	}
	for i, s := range sums {
		s.Reset()
		for leaf := first; leaf < first+k.counts[rank]; leaf++ {
			copy(s.Leaf(leaf), k.leaves[i][leaf])
		}
	}
}

func (k treeCase) sums() (sums []*tree.Sum, dst [][]float32) {
	for _, n := range k.lengths {
		sums, dst = append(sums, tree.NewSum(n)), append(dst, make([]float32, n))
		for i := range dst[len(dst)-1] {
			dst[len(dst)-1][i] = -1
		}
	}
	return sums, dst
}

func TestAllReduceTreeHasTheBitsOfOneRank(t *testing.T) {
	random := seeded(t)
	onRanks(t, func(t *testing.T, n int) {
		for range 15 {
			k := randomTree(random, n)
			var want [][]float32
			for i, length := range k.lengths {
				want = append(want, serial(k.leaves[i], length))
			}
			allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
				sums, dst := k.sums()
				for range 2 {
					k.hold(sums, c.Rank())
					if err := c.AllReduceTree(ctx, k.counts, dst, sums...); err != nil {
						return err
					}
					for i := range dst {
						if err := sameBits(dst[i], want[i]); err != nil {
							return fmt.Errorf("sum %d over %v leaves: %w", i, k.counts, err)
						}
					}
				}
				return nil
			})
		}
	})
}

func TestAllReduceTreeChecksItsArguments(t *testing.T) {
	c, ctx := collective.New(inproc.New(1)[0]), context.Background()
	s, dst := tree.NewSum(2), [][]float32{make([]float32, 2)}
	s.Leaf(0)
	require.NoError(t, c.AllReduceTree(ctx, []int{1}, dst, s))
	require.NoError(t, c.AllReduceTree(ctx, []int{1}, nil))
	for _, c := range []struct {
		err  error
		says string
	}{
		{c.AllReduceTree(ctx, []int{2}, dst, s), "sum 0 does not hold leaves 0 to 1 and no others"},
		{c.AllReduceTree(ctx, []int{0}, dst, s), "sum 0 does not hold leaves 0 to -1 and no others"},
		{c.AllReduceTree(ctx, []int{1, 0}, dst, s), "leaves [1 0] for 1 ranks"},
		{c.AllReduceTree(ctx, []int{-1}, dst, s), "leaves [-1] for 1 ranks"},
		{c.AllReduceTree(ctx, []int{1}, nil, s), "0 vectors for 1 sums"},
		{c.AllReduceTree(ctx, []int{1}, [][]float32{{1}}, s), "dst[0] has 1 elements, its sum 2"},
	} {
		require.ErrorContains(t, c.err, "rank 0: all-reduce: "+c.says)
	}
}

func TestShortReductions(t *testing.T) {
	onRanks(t, func(t *testing.T, n int) {
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			r := int64(c.Rank())
			for _, by := range []collective.Reduction{collective.Sum, collective.Max, collective.Min} {
				want := map[collective.Reduction]int64{collective.Sum: int64(n * (n - 1) / 2), collective.Max: int64(n - 1)}[by]
				x, f := []int64{r, r}, []float64{float64(r)}
				err := errors.Join(c.AllReduceInt64(ctx, x, by), c.AllReduceFloat64(ctx, f, by))
				if err != nil {
					return err
				}
				if x[0] != want || x[1] != want || f[0] != float64(want) {
					return fmt.Errorf("%v: %v and %v, want %d", by, x, f, want)
				}
			}
			return c.AllReduceInt64(ctx, nil, collective.Sum)
		})
	})
}

func TestAFailingRankIsNamedByAll(t *testing.T) {
	calls := map[string]func(ctx context.Context, c *collective.Comm) error{
		"barrier":    func(ctx context.Context, c *collective.Comm) error { return c.Barrier(ctx) },
		"broadcast":  func(ctx context.Context, c *collective.Comm) error { return c.Broadcast(ctx, 2, make([]byte, 10)) },
		"all-gather": func(ctx context.Context, c *collective.Comm) error { return c.AllGatherV(ctx, make([][]byte, 5)) },
		"reduce-scatter": func(ctx context.Context, c *collective.Comm) error {
			_, err := c.ReduceScatter(ctx, make([]float32, 90))
			return err
		},
		"all-reduce": func(ctx context.Context, c *collective.Comm) error { return c.AllReduce(ctx, make([]float32, 90)) },
	}
	for op, call := range calls {
		t.Run(op, func(t *testing.T) {
			for r, err := range each(t, 5, func(ctx context.Context, c *collective.Comm) error {
				if err := c.Barrier(ctx); err != nil {
					return err
				}
				if c.Rank() == 2 {
					return errDies
				}
				return call(ctx, c)
			}) {
				require.ErrorIs(t, err, errDies, "rank %d", r)
				if r != 2 {
					require.ErrorIs(t, err, transport.ErrPeerDead)
					require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
				}
			}
		})
	}
}

func TestCancelledCallNamesItself(t *testing.T) {
	ranks := inproc.New(3)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	for _, rank := range ranks[:2] {
		go func() { failed <- collective.New(rank).AllReduce(ctx, make([]float32, 100)) }()
	}
	cancel()
	for range 2 {
		err := <-failed
		require.ErrorIs(t, err, context.Canceled)
		var e *transport.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "all-reduce", e.Op)
		require.EqualValues(t, 1, e.Seq)
		require.NotEqual(t, transport.None, e.Rank)
	}
}

func BenchmarkAllReduce(b *testing.B) {
	for _, n := range []int{2, 4, 8} {
		for _, length := range []int{1 << 8, 1 << 14, 1 << 20} {
			b.Run(fmt.Sprintf("ranks=%d/bytes=%d", n, 4*length), func(b *testing.B) {
				b.SetBytes(int64(4 * length))
				b.ReportAllocs()
				allSucceed(b, n, func(ctx context.Context, c *collective.Comm) error {
					x := make([]float32, length)
					for range b.N {
						if err := c.AllReduce(ctx, x); err != nil {
							return err
						}
					}
					return nil
				})
			})
		}
	}
}

func BenchmarkBarrier(b *testing.B) {
	for _, n := range []int{2, 4, 8} {
		b.Run(fmt.Sprintf("ranks=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			allSucceed(b, n, func(ctx context.Context, c *collective.Comm) error {
				for range b.N {
					if err := c.Barrier(ctx); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

func TestReductionNames(t *testing.T) {
	require.Equal(t, "sum max min Reduction(3)", fmt.Sprint(collective.Sum, collective.Max, collective.Min, collective.Reduction(3)))
}

// TestWatchSeesEachCall, and a call ends with the error that its end returns.
func TestWatchSeesEachCall(t *testing.T) {
	c := collective.New(inproc.New(1)[0])
	var seen []string
	other := errors.New("other")
	c.Watch(func(op string) func(error) error {
		seen = append(seen, op)
		return func(err error) error {
			require.NoError(t, err)
			if op == "barrier" {
				return other
			}
			return nil
		}
	})
	require.NoError(t, c.AllReduce(context.Background(), []float32{1}))
	require.ErrorIs(t, c.Barrier(context.Background()), other)
	require.NoError(t, c.Broadcast(context.Background(), 0, nil))
	require.Error(t, c.Broadcast(context.Background(), 1, nil), "is refused before it begins")
	require.Equal(t, []string{"all-reduce", "barrier", "broadcast"}, seen)
}
