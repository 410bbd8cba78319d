package switchyard

import (
	"context"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// mates has the rows of a node's ranks that are bound for one expert meet on one of them, before they are compressed: the one that has the
// place on this node that the expert's rank has on its own, so that what travels between nodes stays on rails. How many rows are clustered
// together is what clusters gain most by, and what a node's ranks send each other is cheap.
type mates struct {
	exchange *alltoall.Exchange // among the node's ranks of this copy
	experts  []int              // in the exchange's order: by the place that gathers them, then by number
	own      []int              // those that meet here
}

// gathered is what mates do to a pass's rows.
type gathered struct {
	handle *alltoall.Handle
	rows   blas32.General // those that meet here, sorted by expert
	order  []int32        // of the rank's own rows, sorted by expert: which stands where in the exchange
}

// newMates connects the ranks of this one's node, if there are others.
func (l *Layer) newMates() (*mates, error) {
	top := l.layout.topology(l.cfg.Topology)
	if len(top.Node) == 0 {
		top = alltoall.Nodes(l.layout.parallel, l.layout.parallel)
	}
	place := make([]int, l.layout.parallel) // of each rank of the copy on its node
	seen := map[int]int{}
	for seat, n := range top.Node {
		place[seat] = seen[n]
		seen[n]++
	}
	view, err := l.world.View(l.onNode(top))
	if err != nil {
		return nil, err
	}
	size := view.Size()
	meet := make([][]int, size)
	for seat := range l.layout.parallel {
		begin, end := l.layout.place.Of(seat)
		for e := begin; e < end; e++ {
			at := place[seat] % size
			meet[at] = append(meet[at], e)
		}
	}
	hosted := make([]int, size)
	for at := range meet {
		hosted[at] = len(meet[at])
	}
	m := &mates{experts: slices.Concat(meet...), own: meet[place[l.layout.seat]]}
	m.exchange, err = alltoall.New(view, alltoall.Config{
		Placement: alltoall.Hosted(hosted), Dim: l.cfg.Dim, MaxRows: l.cfg.MaxRows, LeafRows: l.slots(), Algorithm: alltoall.Direct,
	})
	return m, err
}

// onNode lists the ranks of this one's copy on this one's node.
func (l *Layer) onNode(top alltoall.Topology) (list []transport.Rank) {
	for seat, r := range l.layout.oneCopy() {
		if top.Node[seat] == top.Node[l.layout.seat] {
			list = append(list, r)
		}
	}
	return list
}

// gather brings rows, sorted by expert, where they meet. It returns nil where one of the mates has no tokens: then it has no groups in
// which rows of others could be counted, and all compress their own.
func (m *mates) gather(ctx context.Context, p *pass, rows blas32.General) (*gathered, error) {
	c := p.counts()
	g := &gathered{order: make([]int32, 0, rows.Rows)}
	first := make([]int, len(m.experts)+1)
	for e := range m.experts {
		first[e+1] = first[e] + sum(c.Rows[e*c.Leaves:(e+1)*c.Leaves])
	}
	sorted := make([]int, 0, len(c.Rows))
	for _, e := range m.experts {
		sorted = append(sorted, c.Rows[e*c.Leaves:(e+1)*c.Leaves]...)
		for i := first[e]; i < first[e+1]; i++ {
			g.order = append(g.order, int32(i))
		}
	}
	c.Rows = sorted
	var err error
	if g.handle, err = m.exchange.Begin(ctx, c, rows, g.order, 1); err != nil {
		return nil, errtext.Errorf("switchyard: meeting of a node's rows: %w", err)
	}
	if slices.Contains(g.handle.Plan().Tokens, 0) {
		g.handle.Release()
		return nil, nil
	}
	g.rows, _, err = g.handle.DispatchPart(ctx, 0)
	return g, err
}

// ends says where the rows of each of so many experts end among those that meet here.
func (m *mates) ends(g *gathered, experts int) []int {
	plan := g.handle.Plan()
	ends := make([]int, experts)
	for i, e := range m.own {
		ends[e] = plan.Ends[(i+1)*plan.TotalLeaves()-1]
	}
	for e := 1; e < experts; e++ {
		ends[e] = max(ends[e], ends[e-1])
	}
	return ends
}

// home brings answers to the rows that met here, or their gradients, back to whose they are, in to, sorted by expert.
func (g *gathered) home(ctx context.Context, to, answers blas32.General) error {
	back, err := g.handle.Combine(ctx, answers)
	if err != nil {
		return errtext.Errorf("switchyard: return of a node's rows: %w", err)
	}
	for i, row := range g.order {
		copy(rowOf(to, int(row)), rowOf(back, i))
	}
	return nil
}

// again brings gradients of the rank's own rows to where those met.
func (g *gathered) again(ctx context.Context, rows, scratch blas32.General) (blas32.General, error) {
	for i, row := range g.order {
		copy(rowOf(scratch, i), rowOf(rows, int(row)))
	}
	in, err := g.handle.Dispatch(ctx, scratch)
	if err != nil {
		return blas32.General{}, errtext.Errorf("switchyard: meeting of a node's gradients: %w", err)
	}
	return in, nil
}
