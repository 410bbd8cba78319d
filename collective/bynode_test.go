package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// nodes returns the node of each rank, given how many ranks each has.
func nodes(ranks ...int) (node []int) {
	for n, count := range ranks {
		for range count {
			node = append(node, n)
		}
	}
	return node
}

// randomNodes draws the nodes of a number of ranks: all alike, of any sizes, or scattered.
func randomNodes(r *rand.Rand, ranks int) []int {
	each, node := 1+r.IntN(ranks), make([]int, ranks)
	for i := range node {
		node[i] = i / each
	}
	switch r.IntN(3) {
	case 0:
		for i := 1; i < ranks; i++ {
			node[i] = node[i-1] + r.IntN(2)
		}
	case 1:
		r.Shuffle(ranks, func(i, j int) { node[i], node[j] = node[j], node[i] })
	}
	return node
}

// TestSumsByNodeHaveTheBitsOfOneRank, for any leaves, lengths and nodes.
func TestSumsByNodeHaveTheBitsOfOneRank(t *testing.T) {
	random := seeded(t)
	for n := 1; n <= 9; n++ {
		for range 20 {
			node, k := randomNodes(random, n), randomTree(random, n)
			length := []int{1, n - 1, n, 1001, 4003}[random.IntN(5)]
			flat := vectors(random, n, length)
			total := slices.Clone(serial(flat, length))
			var want [][]float32
			for i, length := range k.lengths {
				want = append(want, serial(k.leaves[i], length))
			}
			allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
				sums, dst := k.sums()
				if err := c.SetNodes(node, 1); err != nil {
					return err
				}
				for range 2 {
					x := slices.Clone(flat[c.Rank()])
					if err := c.AllReduce(ctx, x); err != nil {
						return err
					}
					if err := sameBits(x, total); err != nil {
						return fmt.Errorf("nodes %v: %w", node, err)
					}
					k.hold(sums, c.Rank())
					if err := c.AllReduceTree(ctx, k.counts, dst, sums...); err != nil {
						return err
					}
					for i := range dst {
						if err := sameBits(dst[i], want[i]); err != nil {
							return fmt.Errorf("sum %d over %v leaves, nodes %v: %w", i, k.counts, node, err)
						}
					}
				}
				return nil
			})
		}
	}
}

// traffic is what all ranks send to others of their node, and to those of other nodes.
type traffic struct {
	within, between           int // messages
	bytesWithin, bytesBetween int
	steps                     int
}

func trafficOf(sent [][]message, node []int) (all traffic) {
	for r, list := range sent {
		for _, m := range list {
			if node[r] == node[m.to] {
				all.within++
				all.bytesWithin += m.bytes
			} else {
				all.between++
				all.bytesBetween += m.bytes
			}
			all.steps = max(all.steps, int(m.step)+1)
		}
	}
	return all
}

// TestMessagesByNode are those that SetNodes states. Direct sums send r times as many bytes between
// nodes of r ranks, where r is a power of two.
func TestMessagesByNode(t *testing.T) {
	for _, c := range []struct{ nodes, each, subtrees int }{{2, 2, 2}, {4, 2, 4}, {2, 4, 2}, {3, 3, 6}, {2, 5, 5}} {
		perNode := slices.Repeat([]int{c.each}, c.nodes)
		require.Equal(t, c.subtrees, subtrees(perNode))
		node := nodes(perNode...)
		ranks := len(node)
		length := 6 * ranks
		size := 4 * length
		call := func(least int) traffic {
			return trafficOf(messages(t, ranks, func(ctx context.Context, comm *collective.Comm) error {
				if err := comm.SetNodes(node, least); err != nil {
					return err
				}
				return comm.AllReduce(ctx, make([]float32, length))
			}), node)
		}
		direct, byNode := call(size+1), call(size)
		require.Equal(t, traffic{
			within: 2 * ranks * (c.each - 1), between: 2 * ranks * (ranks - c.each),
			bytesWithin: 2 * size * (c.each - 1), bytesBetween: 2 * size * (ranks - c.each), steps: 2,
		}, direct, "direct, %+v", c)
		require.Equal(t, traffic{
			within: 2 * ranks * (c.each - 1), between: 2 * ranks * (c.nodes - 1),
			bytesWithin: 2 * size * c.nodes * (c.each - 1), bytesBetween: (c.subtrees + c.nodes) * size / c.nodes * (c.nodes - 1), steps: 4,
		}, byNode, "by node, %+v", c)
	}
}

// TestSumsThatStayDirect: two steps where sums by node would save nothing.
func TestSumsThatStayDirect(t *testing.T) {
	for _, c := range []struct {
		node   []int
		length int // in elements
		least  int
	}{
		{nil, 1 << 15, 1},
		{[]int{7, 7, 7, 7}, 1 << 15, 1},
		{[]int{0, 1, 2, 3}, 1 << 15, 1},
		{[]int{0, 1, 0, 1}, 1 << 15, 1},
		{[]int{0, 0, 1, 0}, 1 << 15, 1},
		{[]int{0, 0, 1, 1}, 1<<10 - 1, 0},
		{[]int{0, 0, 1, 1}, 1 << 15, int(^uint(0) >> 1)},
		{[]int{0, 0, 1, 1}, 0, 1},
	} {
		for step, list := range messages(t, 4, func(ctx context.Context, comm *collective.Comm) error {
			if err := comm.SetNodes(c.node, c.least); err != nil {
				return err
			}
			return comm.AllReduce(ctx, make([]float32, c.length))
		}) {
			for _, m := range list {
				require.Less(t, m.step, transport.Tag(2), "rank %d, %v", step, c)
			}
		}
	}
}

// TestPassesSumByNode at the same time, as their Comm does.
func TestPassesSumByNode(t *testing.T) {
	const passes = 4
	node := nodes(2, 1, 3)
	sent := messages(t, len(node), func(ctx context.Context, c *collective.Comm) error {
		if err := c.SetNodes(node, 1); err != nil {
			return err
		}
		errs := make([]error, passes)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				p := c.Pass(uint64(i))
				defer p.End()
				errs[i] = sumsOf(ctx, p, int64(1000*i))
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	require.Equal(t, 4, trafficOf(sent, node).steps)
}

func TestSetNodesChecksItsArguments(t *testing.T) {
	c := collective.New(inproc.New(3)[1])
	require.ErrorContains(t, c.SetNodes([]int{0, 1}, 0), "rank 1: set nodes: the nodes of 2 ranks, want 3")
	require.ErrorContains(t, c.SetNodes(nil, -1), "rank 1: set nodes: least is -1 bytes, must not be negative")
	require.NoError(t, c.SetNodes([]int{5, 5, -3}, 0), "numbers mean nothing")
	require.NoError(t, c.SetNodes(nil, 0))
}

// dying is a rank that dies in a step of a call.
type dying struct {
	transport.Transport // without other abilities
	in                  transport.Tag
	die                 func(error)
}

func (d dying) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	if tag&0xff == d.in {
		d.die(errDies)
	}
	return d.Transport.Send(ctx, to, tag, bufs...)
}

// TestARankThatDiesInAnyStep of a sum by node is named by all, whether they send to it or not.
func TestARankThatDiesInAnyStep(t *testing.T) {
	node := nodes(2, 3, 2)
	for step := range transport.Tag(4) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		ends, errs := inproc.New(len(node)), make([]error, len(node))
		var wg sync.WaitGroup
		for r, end := range ends {
			wg.Go(func() {
				var rank transport.Transport = end
				if r == 3 {
					rank = dying{end, step, end.Abort}
				}
				c := collective.New(rank)
				errs[r] = c.SetNodes(node, 1)
				for errs[r] == nil { // who is done with a call goes on, as a trainer would
					errs[r] = c.AllReduce(ctx, make([]float32, 1000))
				}
			})
		}
		wg.Wait()
		cancel()
		for r, err := range errs {
			require.ErrorIs(t, err, errDies, "step %d, rank %d", step, r)
			require.ErrorIs(t, err, transport.ErrPeerDead)
			require.Equal(t, transport.Rank(3), transport.CulpritOf(err))
			require.NoError(t, ends[r].Close())
		}
	}
}

// TestASumByNodeOfAnotherLength is an error on who finds it.
func TestASumByNodeOfAnotherLength(t *testing.T) {
	errs := each(t, 4, func(ctx context.Context, c *collective.Comm) error {
		if err := c.SetNodes(nodes(2, 2), 1); err != nil {
			return err
		}
		return c.AllReduce(ctx, make([]float32, 100+50*int(c.Rank()/3)))
	})
	require.Error(t, errors.Join(errs...))
}

func BenchmarkAllReduceByNode(b *testing.B) {
	for _, length := range []int{1 << 8, 1 << 14, 1 << 20} {
		b.Run(fmt.Sprintf("ranks=8/bytes=%d", 4*length), func(b *testing.B) {
			b.SetBytes(int64(4 * length))
			b.ReportAllocs()
			allSucceed(b, 8, func(ctx context.Context, c *collective.Comm) error {
				if err := c.SetNodes(nodes(2, 2, 2, 2), 1); err != nil {
					return err
				}
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

// subtrees of the leaves of all ranks, as a slow check of what travels by node.
func subtrees(leaves []int) (n int) {
	first := 0
	for _, count := range leaves {
		n += len(tree.Cover(first, first+count))
		first += count
	}
	return n
}

// TestSubtreesThatCross: of a tree over leaves each node sends its own subtrees, which are never
// more than those of its ranks.
func TestSubtreesThatCross(t *testing.T) {
	const length = 60
	node, random := nodes(2, 3, 1), seeded(t)
	for range 10 {
		leaves, perNode := make([]int, len(node)), make([]int, 3)
		for r := range leaves {
			leaves[r] = random.IntN(6)
			perNode[node[r]] += leaves[r]
		}
		leaves[0]++
		perNode[0]++
		sent := messages(t, len(node), func(ctx context.Context, c *collective.Comm) error {
			if err := c.SetNodes(node, 1); err != nil {
				return err
			}
			sum, first := tree.NewSum(length), 0
			for _, n := range leaves[:c.Rank()] {
				first += n
			}
			for leaf := range leaves[c.Rank()] {
				sum.Leaf(first + leaf)
			}
			return c.AllReduceTree(ctx, leaves, [][]float32{make([]float32, length)}, sum)
		})
		got := trafficOf(sent, node)
		require.Equal(t, 4*length*2/3*(subtrees(perNode)+3), got.bytesBetween, "leaves %v", leaves)
		require.LessOrEqual(t, subtrees(perNode), subtrees(leaves))
	}
}
