// Package nodegather gathers the rows of the ranks of one node before they are compressed.
//
// Rows that are bound for one expert are gathered on one rank of the node: the one whose position
// on the node is that of the expert's rank on its own node, so that what travels between nodes
// stays on one rail. More rows that are clustered together lie nearer to their centroids, and
// messages within a node are cheap.
package nodegather

import (
	"context"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config describes the rows, and the ranks that share one copy of the experts. The ranks of a node
// give the same but for Layout.Rank.
type Config struct {
	// Layout says which ranks share the copy, and which experts each of them hosts.
	Layout layout.Layout
	// Node is the node of each rank of the copy.
	Node []int
	// Dim is the number of columns of a row, and MaxRows the most rows that are gathered on a rank.
	Dim, MaxRows int
	// LeafRows is the most rows of a token group for one expert, if that is not its number of
	// tokens; else 0.
	LeafRows int
}

// peers lists the ranks of the world that are of this rank's copy and node, itself included, in
// order.
func (c *Config) peers() (list []transport.Rank) {
	for r, rank := range c.Layout.OneCopy() {
		if c.Node[r] == c.Node[c.Layout.Rank] {
			list = append(list, rank)
		}
	}
	return list
}

// Gatherer gathers rows of a node's ranks. Passes of different numbers may be gathered at the same
// time.
type Gatherer struct {
	exchange *alltoall.Exchange
	all      int   // number of experts
	experts  []int // in the exchange's order: by the rank that gathers their rows, then by number
	own      []int // those whose rows are gathered here
}

// New makes a Gatherer among the ranks of the copy that are on this rank's node, which connect
// connects. All of them call it, and its methods, together.
func New(
	connect func(members []transport.Rank) (transport.Transport, error), cfg Config,
) (*Gatherer, error) {
	view, err := connect(cfg.peers())
	if err != nil {
		return nil, err
	}
	gathered := cfg.gatheredBy(view.Size())
	hosted := make([]int, len(gathered))
	for at := range gathered {
		hosted[at] = len(gathered[at])
	}
	g := &Gatherer{
		all: cfg.Layout.Placement.Experts(), experts: slices.Concat(gathered...),
		own: gathered[view.Rank()],
	}
	g.exchange, err = alltoall.New(view, alltoall.Config{
		Placement: alltoall.Hosted(hosted), Dim: cfg.Dim, MaxRows: cfg.MaxRows, LeafRows: cfg.LeafRows,
		Algorithm: alltoall.Direct,
	})
	return g, err
}

// gatheredBy lists the experts whose rows each of the node's ranks gathers.
func (c *Config) gatheredBy(size int) [][]int {
	gathered, before := make([][]int, size), map[int]int{}
	for r, node := range c.Node {
		position := before[node] % size // of the rank on its node
		before[node]++
		begin, end := c.Layout.Placement.Of(r)
		for e := begin; e < end; e++ {
			gathered[position] = append(gathered[position], e)
		}
	}
	return gathered
}

// Rows is the rows of one pass that are gathered here, until Release.
type Rows struct {
	// Rows is them, sorted by expert, and Ends is where those of each expert end.
	Rows blas32.General
	Ends []int

	exchange *alltoall.Exchange
	handle   *alltoall.Handle
	order    []int32 // of the rank's own rows, sorted by expert: which stands where in the exchange
}

// Gather sends the rows of a rank in the pass of a number, sorted by expert and counted by counts,
// to the ranks that gather them. It returns nil on every rank of the node if one of them has no
// tokens: that rank has no token groups in which rows of others could be counted, and all ranks
// compress their own rows.
func (g *Gatherer) Gather(
	ctx context.Context, number uint64, counts alltoall.Counts, rows blas32.General,
) (*Rows, error) {
	at := &Rows{exchange: g.exchange.Pass(number)}
	counts.Rows, at.order = g.sorted(counts, rows.Rows)
	var err error
	request := alltoall.Request{Counts: counts, Rows: rows, Token: at.order}
	if at.handle, err = at.exchange.Begin(ctx, request); err != nil {
		at.exchange.End()
		return nil, errtext.Errorf("switchyard: gathering of a node's rows: %w", err)
	}
	if slices.Contains(at.handle.Plan().Tokens, 0) {
		at.Release()
		return nil, nil
	}
	at.Rows, _, err = at.handle.Dispatch(ctx, 0)
	at.Ends = g.ends(at.handle.Plan())
	return at, err
}

// sorted returns the counts of rows, and the positions of rows, in the exchange's order of experts.
func (g *Gatherer) sorted(counts alltoall.Counts, rows int) (sorted []int, order []int32) {
	order, sorted = make([]int32, 0, rows), make([]int, 0, len(counts.Rows))
	of := func(e int) []int { return counts.Rows[e*counts.Leaves : (e+1)*counts.Leaves] }
	first := make([]int, len(g.experts)+1)
	for e := range g.experts {
		first[e+1] = first[e] + mat.Sum(of(e))
	}
	for _, e := range g.experts {
		sorted = append(sorted, of(e)...)
		for i := first[e]; i < first[e+1]; i++ {
			order = append(order, int32(i))
		}
	}
	return sorted, order
}

// ends says where the rows of each expert end among those that are gathered here.
func (g *Gatherer) ends(plan *alltoall.Plan) []int {
	ends := make([]int, g.all)
	for i, e := range g.own {
		ends[e] = plan.Ends[(i+1)*plan.TotalLeaves()-1]
	}
	for e := 1; e < g.all; e++ {
		ends[e] = max(ends[e], ends[e-1])
	}
	return ends
}

// Scatter sends what belongs to the gathered rows, answers or gradients, back to the ranks that the
// rows came from. It fills to, a row for each of the rank's own rows, sorted by expert.
func (r *Rows) Scatter(ctx context.Context, to, answers blas32.General) error {
	back, err := r.handle.Combine(ctx, 0, answers)
	if err != nil {
		return errtext.Errorf("switchyard: return of a node's rows: %w", err)
	}
	for i, row := range r.order {
		copy(mat.Row(to, int(row)), mat.Row(back, i))
	}
	return nil
}

// GatherGradients sends gradients of the rank's own rows to where those were gathered, and returns
// those that are gathered here. scratch has the shape of rows, and is written over.
func (r *Rows) GatherGradients(ctx context.Context, rows, scratch blas32.General) (blas32.General, error) {
	for i, row := range r.order {
		copy(mat.Row(scratch, i), mat.Row(rows, int(row)))
	}
	in, err := r.handle.DispatchBack(ctx, 0, scratch)
	if err != nil {
		return blas32.General{}, errtext.Errorf("switchyard: gathering of a node's gradients: %w", err)
	}
	return in, nil
}

// Release ends the pass, whose memory the next one may use.
func (r *Rows) Release() {
	r.handle.Release()
	r.exchange.End()
}
