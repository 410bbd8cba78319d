package nodegather_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const dim = 3

// onRanks runs do with a Gatherer on every rank of a copy whose ranks are on the given nodes, each
// with two experts.
func onRanks(t *testing.T, nodes []int, do func(rank int, g *nodegather.Gatherer) error) {
	t.Helper()
	ranktest.Succeed(t, ranktest.Errors(t, len(nodes), func(tr transport.Transport) error {
		g, err := gathererOf(tr, int(tr.Rank()), nodes)
		if err != nil {
			return err
		}
		return do(int(tr.Rank()), g)
	}))
}

func gathererOf(tr transport.Transport, rank int, nodes []int) (*nodegather.Gatherer, error) {
	cfg := nodegather.Config{
		Layout: layout.New(layout.Config{Rank: rank, Size: len(nodes), Experts: 2 * len(nodes)}),
		Node:   nodes, Dim: dim,
	}
	return nodegather.New(func(members []transport.Rank) (transport.Transport, error) {
		return transport.Sub(tr, 1, members)
	}, cfg)
}

// rowsOf are a rank's rows, each for all experts: element 0 is the rank and element 1 the expert.
func rowsOf(rank, experts, each int) (alltoall.Counts, blas32.General) {
	counts := alltoall.Counts{Tokens: each, Leaves: 1}
	m := mat.Resize(blas32.General{}, experts*each, dim)
	for i := range m.Rows {
		copy(mat.Row(m, i), []float32{float32(rank), float32(i / each), float32(i % each)})
	}
	for range experts {
		counts.Rows = append(counts.Rows, each)
	}
	return counts, m
}

// TestRowsOfANodeAreGatheredByRail: of two nodes of two ranks, the first rank of each gathers the
// rows of its node for the experts of both first ranks. Rows come sorted by expert, then by rank;
// answers return to where they came from, and gradients go the same way.
func TestRowsOfANodeAreGatheredByRail(t *testing.T) {
	onRanks(t, []int{0, 0, 1, 1}, func(rank int, g *nodegather.Gatherer) error { return gatherByRail(g, rank, 1) })
}

// TestPassesAreGatheredAtTheSameTime, on each rank in an order of its own.
func TestPassesAreGatheredAtTheSameTime(t *testing.T) {
	onRanks(t, []int{0, 0, 1, 1}, func(rank int, g *nodegather.Gatherer) error {
		var errs [5]error
		var wg sync.WaitGroup
		for _, i := range rand.Perm(len(errs)) {
			wg.Go(func() { errs[i] = errors.Join(gatherByRail(g, rank, uint64(i)), gatherByRail(g, rank, uint64(i))) })
		}
		wg.Wait()
		return errors.Join(errs[:]...)
	})
}

// gatherByRail gathers the rows of the pass of a number, scatters answers, and gathers gradients.
func gatherByRail(g *nodegather.Gatherer, rank int, number uint64) error {
	const experts = 8
	ctx, each := context.Background(), rank+1
	counts, rows := rowsOf(rank, experts, each)
	at, err := g.Gather(ctx, number, counts, rows)
	if err != nil {
		return err
	}
	defer at.Release()
	if err := gatheredByRail(at, rank); err != nil {
		return err
	}
	for i := range at.Rows.Data {
		at.Rows.Data[i] += float32(number)
	}
	home := mat.Resize(blas32.General{}, rows.Rows, dim)
	if err := at.Scatter(ctx, home, at.Rows); err != nil {
		return err
	}
	for i, v := range home.Data {
		if v != rows.Data[i]+float32(number) {
			return fmt.Errorf("element %d came back as %v, want %v", i, v, rows.Data[i]+float32(number))
		}
	}
	gradients, err := at.GatherGradients(ctx, rows, home)
	if err != nil {
		return err
	}
	at.Rows = gradients
	return gatheredByRail(at, rank)
}

// gatheredByRail checks that the rows here are those of this rank's node for the experts of its
// rail.
func gatheredByRail(at *nodegather.Rows, rank int) error {
	first := rank / 2 * 2 // of the node's ranks
	i := 0
	for e := range 8 {
		if e/2%2 == rank%2 {
			for r := first; r < first+2; r++ {
				for token := range r + 1 {
					want := []float32{float32(r), float32(e), float32(token)}
					if got := mat.Row(at.Rows, i); got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
						return fmt.Errorf("row %d is %v, want %v", i, got, want)
					}
					i++
				}
			}
		}
		if at.Ends[e] != i {
			return fmt.Errorf("rows of expert %d end at %d, want %d", e, at.Ends[e], i)
		}
	}
	if at.Rows.Rows != i {
		return fmt.Errorf("%d rows, want %d", at.Rows.Rows, i)
	}
	return nil
}

// TestARankWithoutTokensKeepsItsNodeFromGathering, and the other node gathers.
func TestARankWithoutTokensKeepsItsNodeFromGathering(t *testing.T) {
	onRanks(t, []int{0, 1, 0, 1}, func(rank int, g *nodegather.Gatherer) error {
		counts, rows := rowsOf(rank, 8, 2)
		if rank == 2 {
			counts, rows = alltoall.Counts{Rows: []int{}}, mat.Resize(blas32.General{}, 0, dim)
		}
		for range 2 { // the exchange is usable after both
			at, err := g.Gather(context.Background(), 1, counts, rows)
			if err != nil {
				return err
			}
			if gathered := at != nil; gathered != (rank%2 == 1) {
				return fmt.Errorf("gathered is %t", gathered)
			}
			if at != nil {
				at.Release()
			}
		}
		return nil
	})
}

// TestTheRanksOfTheNodeAreConnected, those of the same copy of the experts, in ascending order.
func TestTheRanksOfTheNodeAreConnected(t *testing.T) {
	refused := errors.New("not now")
	for rank, want := range map[int][]transport.Rank{7: {5, 7, 9}, 8: {6, 8}} {
		at := layout.New(layout.Config{Rank: rank, Size: 10, ExpertParallel: 5, Experts: 5})
		_, err := nodegather.New(func(members []transport.Rank) (transport.Transport, error) {
			require.Equal(t, want, members)
			return nil, refused
		}, nodegather.Config{Layout: at, Node: []int{0, 1, 0, 1, 0}, Dim: dim})
		require.ErrorIs(t, err, refused)
	}
}

// TestAContextThatHasEndedIsNamed with what was under way.
func TestAContextThatHasEndedIsNamed(t *testing.T) {
	onRanks(t, []int{0, 0}, func(rank int, g *nodegather.Gatherer) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		counts, rows := rowsOf(rank, 4, 1)
		_, err := g.Gather(ctx, 1, counts, rows)
		if err == nil {
			return fmt.Errorf("no error")
		}
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "gathering of a node's rows")
		return nil
	})
}
