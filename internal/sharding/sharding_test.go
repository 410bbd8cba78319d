package sharding

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// exchange is one between two nodes, of two experts a node, in chunks of some of them each.
type exchange struct {
	plan alltoall.Plan
	each int
}

func (x *exchange) Plan() *alltoall.Plan { return &x.plan }
func (x *exchange) Chunk(i int) alltoall.Chunk {
	return alltoall.Chunk{FirstExpert: i * x.each, EndExpert: (i + 1) * x.each}
}

// leavesOf is the number of leaves of a rank.
func leavesOf(node, place int) int { return 1 + node + place%2 }

// number is the rows of a leaf of a rank for an expert, and of one column: what they hold.
func number(e, node, place, leaf int) (rows []float32) {
	return slices.Repeat([]float32{float32(1000*e + 100*node + 10*place + leaf)}, e+place+leaf)
}

// of is the rows of experts begin to end that came to a place, and where they end.
func of(begin, end, place int) (rows blas32.General, ends []int) {
	rows = blas32.General{Cols: 1, Stride: 1}
	for e := begin; e < end; e++ {
		for node := range 2 {
			for leaf := range leavesOf(node, place) {
				rows.Data = append(rows.Data, number(e, node, place, leaf)...)
				ends = append(ends, len(rows.Data))
			}
		}
	}
	rows.Rows = len(rows.Data)
	return rows, ends
}

// gathered is the rows of one expert of all places, and where they end.
func gathered(e, places int) (rows []float32, ends []int) {
	for node := range 2 {
		for place := range places {
			for leaf := range leavesOf(node, place) {
				rows = append(rows, number(e, node, place, leaf)...)
				ends = append(ends, len(rows))
			}
		}
	}
	return rows, ends
}

func begin(tr transport.Transport, each, limit int) *Pass {
	s := &Stage{Comm: collective.New(tr), Dim: 1, MaxRows: limit}
	leaves := make([]int, 2*tr.Size())
	for r := range leaves {
		leaves[r] = leavesOf(r/tr.Size(), r%tr.Size())
	}
	plan := alltoall.Plan{Rank: 1, Experts: 2, Sent: make([]int, 2)}
	return s.Begin(7, &exchange{plan: plan, each: each}, leaves)
}

// TestGatherAndScatter: gathered rows are sorted by expert and leaf of the world, in chunks of one
// expert or of two, and each rank gets back the sums for its rows, in their order.
func TestGatherAndScatter(t *testing.T) {
	for places := 1; places <= 4; places++ {
		for each := 1; each <= 2; each++ {
			ranktest.Succeed(t, ranktest.Errors(t, places, func(tr transport.Transport) error {
				p := begin(tr, each, 0)
				defer p.End()
				before := 0
				for chunk := range 2 / each {
					n, err := gatherAndScatter(t, p, chunk, each, before)
					if err != nil {
						return err
					}
					before += n
				}
				require.Equal(t, int(tr.Rank())+places, p.Plan().Rank)
				return nil
			}))
		}
	}
}

// gatherAndScatter takes a chunk both ways, and returns its rows. before are those of chunks
// before.
func gatherAndScatter(t *testing.T, p *Pass, chunk, each, before int) (total int, err error) {
	me, places := int(p.comm.Rank()), p.comm.Size()
	rows, ends := of(chunk*each, (chunk+1)*each, me)
	all, allEnds, err := p.Gather(t.Context(), chunk, rows, ends)
	if err != nil {
		return 0, err
	}
	addends := []blas32.General{{Cols: 1, Stride: 1}} // of a group without rows
	for e := chunk * each; e < (chunk+1)*each; e++ {
		want, wantEnds := gathered(e, places)
		require.Equal(t, before+total, p.Plan().Segment(e, 0).First)
		require.Equal(t, want, all.Data[total:total+len(want)])
		for i, end := range wantEnds {
			require.Equal(t, total+end, allEnds[(e-chunk*each)*len(wantEnds)+i])
		}
		of := mat.Resize(blas32.General{}, len(want), 1)
		for i, v := range want {
			of.Data[i] = v * float32(me+1)
		}
		addends, total = append(addends, of), total+len(want)
	}
	require.Equal(t, total, all.Rows)
	sums, err := p.Scatter(t.Context(), chunk, addends)
	if err != nil {
		return 0, err
	}
	require.Equal(t, rows.Rows, sums.Rows)
	for i, v := range rows.Data {
		require.Equal(t, v*float32(places*(places+1)/2), sums.Data[i])
	}
	return total, nil
}

// TestGatherBackAgain: gradients of gathered rows need no ends, and their number must be right.
func TestGatherBackAgain(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 2, func(tr transport.Transport) error {
		p := begin(tr, 1, 0)
		rows, ends := of(0, 1, int(tr.Rank()))
		all, _, err := p.Gather(t.Context(), 0, rows, ends)
		if err != nil {
			return err
		}
		again, err := p.GatherBack(t.Context(), 0, rows)
		require.Equal(t, all, again)
		_, wrong := p.GatherBack(t.Context(), 0, blas32.General{Rows: 20, Cols: 1, Stride: 1, Data: make([]float32, 20)})
		require.ErrorContains(t, wrong, "chunk 0 has 20 rows here")
		return err
	}))
}

// TestWhatANeighbourSends is checked: ends that fall, and more rows than a pass may have.
func TestWhatANeighbourSends(t *testing.T) {
	for says, c := range map[string]struct {
		limit int
		ends  []int
	}{
		"its rows end at 1 after 2":       {0, []int{2, 1, 3, 3, 3}},
		"more than the 3 rows of a pass":  {3, []int{2, 2, 3, 3, 3}},
		"more than the 99 rows of a pass": {99, []int{2, 2, 2, 2, 1 << 30}},
	} {
		errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
			rows, ends := of(0, 1, 0)
			if tr.Rank() == 1 {
				ends = c.ends
			}
			_, _, err := begin(tr, 1, c.limit).Gather(t.Context(), 0, rows, ends)
			return err
		})
		var e *transport.Error
		require.ErrorAs(t, errs[0], &e, says)
		require.ErrorContains(t, errs[0], says)
	}
	p := begin(alone(t), 1, 0)
	_, _, err := p.Gather(t.Context(), 0, blas32.General{}, []int{1})
	require.ErrorContains(t, err, "1 ends of rows here, want 3")
}

func alone(t *testing.T) (tr transport.Transport) {
	ranktest.Succeed(t, ranktest.Errors(t, 1, func(one transport.Transport) error { tr = one; return nil }))
	return tr
}

// TestNeighbourDies: a rank that ends before a step is an error of the others, and so is the end of
// their context.
func TestNeighbourDies(t *testing.T) {
	for steps := range 3 { // that both have done
		errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
			p := begin(tr, 1, 0)
			rows, ends := of(0, 1, int(tr.Rank()))
			var all blas32.General
			for step, do := range []func() error{
				func() (err error) { all, _, err = p.Gather(t.Context(), 0, rows, ends); return err },
				func() error { _, err := p.GatherBack(t.Context(), 0, rows); return err },
				func() error { _, err := p.Scatter(t.Context(), 0, []blas32.General{all}); return err },
			} {
				if step == steps && tr.Rank() == 1 {
					return tr.Close()
				}
				if err := do(); err != nil {
					return err
				}
			}
			return nil
		})
		var e *transport.Error
		require.ErrorAs(t, errs[0], &e, "after %d steps", steps)
		require.EqualValues(t, 1, e.Rank)
		require.NoError(t, errs[1])
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		rows, ends := of(0, 1, int(tr.Rank()))
		_, _, err := begin(tr, 1, 0).Gather(ended, 0, rows, ends)
		return err
	})
	require.ErrorIs(t, errs[0], context.Canceled)
}
