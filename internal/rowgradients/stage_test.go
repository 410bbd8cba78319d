package rowgradients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
)

const dim = 4

// node is a rank with an exchange of centroids, and a stage of gradients beside it.
type node struct {
	rank      int
	allocates bool
	centroids *alltoall.Exchange
	stage     *Stage
}

func newNode(tr transport.Transport, hosted []int, allocates bool) (*node, error) {
	all := make([]transport.Rank, tr.Size())
	for r := range all {
		all[r] = transport.Rank(r)
	}
	n := &node{rank: int(tr.Rank()), allocates: allocates}
	cfg := alltoall.Config{Placement: alltoall.Hosted(hosted), Dim: dim, Allocates: allocates}
	view, err := transport.Sub(tr, 1, all)
	if err != nil {
		return nil, err
	}
	if n.centroids, err = alltoall.New(view, cfg); err != nil {
		return nil, err
	}
	if view, err = transport.Sub(tr, 2, all); err != nil {
		return nil, err
	}
	n.stage, err = New(view, cfg, alltoall.Float32)
	return n, err
}

// clustered are rows of a rank in random clusters: counts of the rows, and of the centroids. Both
// consist of the rank, the expert, the number of the cluster, and for rows their number.
func clustered(r *rand.Rand, rank, experts, most int) (c *lsh.Clusters, counts, sent alltoall.Counts, rows, centroids blas32.General) {
	var groups [][]int32
	counts = alltoall.Counts{Tokens: most, Leaves: min(most, 1)}
	sent = counts
	for range experts {
		var of []int32
		if n := r.IntN(most + 1); n > 0 {
			k := 1 + r.IntN(n)
			for i := range n {
				of = append(of, int32(i%k))
			}
			r.Shuffle(n, func(i, j int) { of[i], of[j] = of[j], of[i] })
			counts.Rows, sent.Rows = append(counts.Rows, n), append(sent.Rows, k)
		} else if most > 0 {
			counts.Rows, sent.Rows = append(counts.Rows, 0), append(sent.Rows, 0)
		}
		groups = append(groups, of)
	}
	c = lsh.NewClusters(groups)
	rows, centroids = mat.Resize(rows, len(c.Of), dim), mat.Resize(centroids, c.Centroids(), dim)
	for e := range experts {
		row, end, first, last := c.Group(e)
		for i := row; i < end; i++ {
			copy(mat.Row(rows, i), []float32{float32(rank), float32(e), float32(int(c.Of[i]) - first), float32(i)})
		}
		for k := first; k < last; k++ {
			copy(mat.Row(centroids, k), []float32{float32(rank), float32(e), float32(k - first), 0})
		}
	}
	return c, counts, sent, rows, centroids
}

// pass takes rows and centroids of a random batch to their experts, and the rows home. Each row
// must meet its own centroid, and come home as the expert leaves it.
func (n *node) pass(ctx context.Context, number uint64, experts int, cut alltoall.Cut) error {
	r := rand.New(rand.NewPCG(number, uint64(n.rank)))
	clusters, counts, sent, rows, centroids := clustered(r, n.rank, experts, r.IntN(3)*r.IntN(20))
	x := n.centroids.Pass(number)
	defer x.End()
	q := alltoall.Request{Counts: sent, Rows: centroids, Cut: cut}
	if n.allocates {
		q.Allocate = func(l *alltoall.Loads) (alltoall.Allocation, error) { return shared(number, l), nil }
	}
	h, err := x.Begin(ctx, q)
	if err != nil {
		return err
	}
	defer h.Release()
	var arrived []blas32.General
	for i := range cut.Chunks() {
		m, _, err := h.Dispatch(ctx, i)
		if err != nil {
			return err
		}
		arrived = append(arrived, m)
	}
	p, err := n.stage.Begin(number, counts, rows, clusters)
	defer p.Release()
	if err != nil {
		return err
	}
	if err := p.Announce(ctx, cut, h); err != nil {
		return err
	}
	home, err := n.there(ctx, p, h, arrived)
	if err != nil {
		return err
	}
	for i := range rows.Rows {
		for j, v := range mat.Row(home, i) {
			if want := mat.Row(rows, i)[j] + 100; v != want {
				return fmt.Errorf("row %d, column %d came home as %v, want %v", i, j, v, want)
			}
		}
	}
	return nil
}

// shared gives each leaf of every other expert to another rank.
func shared(number uint64, l *alltoall.Loads) (a alltoall.Allocation) {
	r := rand.New(rand.NewPCG(number, 3))
	for e := r.IntN(2); e < l.Placement.Experts() && l.TotalLeaves() > 0; e += 2 {
		ranks := r.Perm(l.Placement.Ranks())
		for leaf := range l.TotalLeaves() { // there are no more of them than ranks
			a = append(a, alltoall.Run{Expert: e, Rank: ranks[leaf], First: leaf, End: leaf + 1})
		}
	}
	return a
}

// there has the experts add 100 to each row.
func (n *node) there(ctx context.Context, p *Pass, h *alltoall.Handle, arrived []blas32.General) (home blas32.General, err error) {
	first, before := 0, 0
	for i, centroids := range arrived {
		if err := p.Dispatch(ctx, i, h.Plan()); err != nil {
			return home, err
		}
		c := p.Chunk(i)
		if c.First != before {
			return home, fmt.Errorf("chunk %d begins with row %d, want %d", i, c.First, before)
		}
		before += c.Gradients.Rows
		for row, of := range c.Of {
			got, want := mat.Row(c.Gradients, row), mat.Row(centroids, int(of)-first)
			if got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
				return home, fmt.Errorf("the gradient %v is taken at centroid %v", got, want)
			}
			for j := range got {
				got[j] += 100
			}
		}
		if home, err = p.Combine(ctx, i); err != nil {
			return home, err
		}
		first += centroids.Rows
	}
	return home, nil
}

// TestEachGradientMeetsItsCentroid, however exchanges are cut and experts shared out, ranks without
// experts or rows among them, and passes that use the memory of others.
func TestEachGradientMeetsItsCentroid(t *testing.T) {
	for i, hosted := range [][]int{{3}, {2, 3}, {1, 0, 4, 2}, {2, 3}, {1, 0, 4, 2}} {
		experts := mat.Sum(hosted)
		ranktest.Succeed(t, ranktest.Errors(t, len(hosted), func(tr transport.Transport) error {
			n, err := newNode(tr, hosted, i > 2)
			if err != nil {
				return err
			}
			for number := range uint64(12) {
				for _, cut := range []alltoall.Cut{alltoall.ByExperts(1), alltoall.ByExperts(3), alltoall.ByRanks(1), alltoall.ByRanks(2)} {
					if err := n.pass(context.Background(), number, experts, cut); err != nil {
						return fmt.Errorf("pass %d in %T(%d): %w", number, cut, cut, err)
					}
				}
			}
			return nil
		}))
	}
}

// TestAClusterThatDidNotComeIsTheFaultOfItsRank, which the error names with the number and the
// limit.
func TestAClusterThatDidNotComeIsTheFaultOfItsRank(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		n, err := newNode(tr, []int{1, 1}, false)
		if err != nil {
			return err
		}
		ctx, counts := context.Background(), alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{2, 2}}
		rows, centroids := mat.Zero(mat.Resize(blas32.General{}, 4, dim)), mat.Zero(mat.Resize(blas32.General{}, 2, dim))
		h, err := n.centroids.Begin(ctx, alltoall.Request{Counts: alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{1, 1}}, Rows: centroids})
		if err != nil {
			return err
		}
		// Rank 1 says that it has sent two clusters to rank 0.
		clusters := lsh.NewClusters([][]int32{{0, int32(n.rank)}, {0, 0}})
		p, err := n.stage.Begin(1, counts, rows, clusters)
		if err != nil {
			return err
		}
		defer p.Release()
		if err := p.Announce(ctx, alltoall.ByExperts(1), h); err != nil {
			return err
		}
		return p.Dispatch(ctx, 0, h.Plan())
	})
	require.NoError(t, errs[1])
	require.ErrorIs(t, errs[0], transport.ErrProtocol)
	require.Equal(t, transport.Rank(1), transport.CulpritOf(errs[0]))
	require.ErrorContains(t, errs[0], "a gradient for its expert +0 here is of cluster 1, want less than 1")
}

// TestMoreClustersThanNumbers are an error before anything is sent.
func TestMoreClustersThanNumbers(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 1, func(tr transport.Transport) error {
		n, err := newNode(tr, []int{1}, false)
		if err != nil {
			return err
		}
		p, err := n.stage.Begin(1, alltoall.Counts{}, blas32.General{}, &lsh.Clusters{RowEnds: []int{0}, CentroidEnds: []int{most + 1}})
		defer p.Release()
		require.ErrorIs(t, err, transport.ErrTooLarge)
		require.ErrorContains(t, err, "16777217 clusters of expert 0, want at most 16777216")
		return nil
	}))
}

// TestPassesAllocateNothingByRow once their memory has grown.
func TestPassesAllocateNothingByRow(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 1, func(tr transport.Transport) error {
		n, err := newNode(tr, []int{2}, false)
		if err != nil {
			return err
		}
		const rows = 1000
		r, ctx := rand.New(rand.NewPCG(1, 2)), context.Background()
		clusters, counts, sent, m, centroids := clustered(r, 0, 2, rows)
		h, err := n.centroids.Begin(ctx, alltoall.Request{Counts: sent, Rows: centroids})
		if err != nil {
			return err
		}
		allocations := testing.AllocsPerRun(10, func() {
			p, err := n.stage.Begin(1, counts, m, clusters)
			require.NoError(t, err)
			require.NoError(t, p.Announce(ctx, alltoall.ByExperts(1), h))
			require.NoError(t, p.Dispatch(ctx, 0, h.Plan()))
			_, err = p.Combine(ctx, 0)
			require.NoError(t, err)
			p.Release()
		})
		require.Less(t, allocations, 20.0, "in a pass of %d rows", m.Rows)
		return nil
	}))
}
