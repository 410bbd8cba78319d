// Package sharding exchanges the rows of experts that are cut over the ranks of a node (expert
// sharding, ESP, of DeepSpeed-TED, Parm and FSMoE). A rank exchanges rows with the ranks of the
// same place in other nodes; the ranks of its node then gather them, so that each computes its part
// of the experts for the rows of all, and reduce and scatter the answers.
//
// Rank r of the world has place r mod n in node r / n, for nodes of n ranks. The gathered rows of
// an expert stand in the order of the ranks of the world, which is that of tokens, whatever the
// number of nodes; the addends of the parts are summed over the binary tree of places.
package sharding

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// Stage is this rank's part in the exchanges of its node. Any goroutine may call Begin at any time.
type Stage struct {
	// Comm connects the ranks of the node, in the order of their places.
	Comm *collective.Comm
	// Dim is the number of columns of rows, and MaxRows the most rows of a pass after gathering; 0
	// means alltoall.DefaultMaxRows.
	Dim, MaxRows int
}

// Places is the number of ranks of a node, 1 for a nil stage.
func (s *Stage) Places() int {
	if s == nil {
		return 1
	}
	return s.Comm.Size()
}

// Chunks is an exchange between nodes, whose chunks are cut by experts, the same in all places.
type Chunks interface {
	Plan() *alltoall.Plan
	Chunk(chunk int) alltoall.Chunk
}

// Pass is one pass. Its methods but Plan and Chunk are called in the same order by all ranks of the
// node, by one goroutine at a time.
type Pass struct {
	stage *Stage
	comm  *collective.Comm
	of    Chunks
	plan  alltoall.Plan
	rows  int // gathered so far
	at    []int
}

// Begin begins a pass of that number, whose rows of reaches the ranks of this place. leaves is the
// number of leaves of each rank of the world.
func (s *Stage) Begin(number uint64, of Chunks, leaves []int) *Pass {
	from := of.Plan()
	n := s.Places()
	return &Pass{
		stage: s, comm: s.Comm.Pass(number), of: of, at: make([]int, n),
		plan: alltoall.Plan{
			Rank: from.Rank*n + int(s.Comm.Rank()), Experts: from.Experts, Sent: make([]int, len(leaves)), Leaves: leaves,
			Segments: make([]alltoall.Segment, from.Experts*len(leaves)),
		},
	}
}

// End ends a pass that has begun. A nil pass has not.
func (p *Pass) End() {
	if p != nil {
		p.comm.End()
	}
}

// Plan is what a rank would see to which all ranks of the world send: where the gathered rows come
// from and stand. It has the segments of the chunks that are gathered, and no Ends.
func (p *Pass) Plan() *alltoall.Plan { return &p.plan }

// Chunk says which experts a chunk has.
func (p *Pass) Chunk(chunk int) alltoall.Chunk { return p.of.Chunk(chunk) }

// Gather returns the rows of a chunk of all ranks of the node, sorted by expert and then by leaf of
// the world, and where they end: given those that came here, sorted alike, with their ends. Chunks
// come in order. Each rank sends each other of its node two messages: 4 bytes for each expert and
// leaf, and its rows.
func (p *Pass) Gather(ctx context.Context, chunk int, rows blas32.General, ends []int) (all blas32.General, allEnds []int, err error) {
	c := p.of.Chunk(chunk)
	lists, err := p.gatherEnds(ctx, c, ends)
	if err == nil {
		allEnds, err = p.merge(c, lists)
	}
	if err == nil {
		all, err = p.GatherBack(ctx, chunk, rows)
	}
	return all, allEnds, err
}

// GatherBack is Gather of the gradients of the answers to a chunk, of rows that were gathered. It
// is one message to each other rank of the node.
func (p *Pass) GatherBack(ctx context.Context, chunk int, rows blas32.General) (all blas32.General, err error) {
	c := p.of.Chunk(chunk)
	lists, bufs := make([]blas32.General, len(p.at)), make([][]byte, len(p.at))
	total := 0
	for place, n := range p.counts(c) {
		lists[place] = mat.Resize(blas32.General{}, n, p.stage.Dim)
		bufs[place] = view.Bytes(lists[place].Data)
		total += n
	}
	if me := p.comm.Rank(); lists[me].Rows != rows.Rows {
		return all, p.fault(me, fmt.Errorf("chunk %d has %d rows here, want the %d that were gathered", chunk, rows.Rows, lists[me].Rows))
	}
	mat.Copy(lists[p.comm.Rank()], rows)
	if err := p.comm.AllGatherV(ctx, bufs); err != nil {
		return all, err
	}
	all = mat.Resize(blas32.General{}, total, p.stage.Dim)
	p.each(c, func(place, begin, row, n int) {
		mat.Copy(mat.Rows(all, row, row+n), mat.Rows(lists[place], begin, begin+n))
	})
	return all, nil
}

// Scatter takes this rank's addends to the answers to a chunk, or to the gradients of its rows, in
// the order of the gathered rows, and returns the sums over the node for the rows that came here. A
// matrix has the rows of whole experts. It is one message to each other rank of the node.
func (p *Pass) Scatter(ctx context.Context, chunk int, addends []blas32.General) (blas32.General, error) {
	c := p.of.Chunk(chunk)
	lists, parts := make([]blas32.General, len(p.at)), make([][]float32, len(p.at))
	for place, n := range p.counts(c) {
		lists[place] = mat.Resize(blas32.General{}, n, p.stage.Dim)
		parts[place] = lists[place].Data
	}
	before := 0 // rows of the matrices before addends[0]
	p.each(c, func(place, begin, row, n int) {
		for n > 0 && row-before >= addends[0].Rows {
			before += addends[0].Rows
			addends = addends[1:]
		}
		if n > 0 {
			mat.Copy(mat.Rows(lists[place], begin, begin+n), mat.Rows(addends[0], row-before, row-before+n))
		}
	})
	_, err := p.comm.ReduceScatterV(ctx, parts)
	return lists[p.comm.Rank()], err
}

// counts is how many rows of a chunk came to each place. It is valid until each.
func (p *Pass) counts(c alltoall.Chunk) []int {
	clear(p.at)
	for e := c.FirstExpert; e < c.EndExpert; e++ {
		for r := range p.plan.Ranks() {
			p.at[r%len(p.at)] += p.plan.Segment(e, r).Rows
		}
	}
	return p.at
}

// each calls f for the rows of each expert of a chunk and rank of the world: n from row on of those
// gathered, and from begin on of those that came to a place.
func (p *Pass) each(c alltoall.Chunk, f func(place, begin, row, n int)) {
	clear(p.at)
	row := 0
	for e := c.FirstExpert; e < c.EndExpert; e++ {
		for r := range p.plan.Ranks() {
			place, n := r%len(p.at), p.plan.Segment(e, r).Rows
			f(place, p.at[place], row, n)
			p.at[place], row = p.at[place]+n, row+n
		}
	}
}

// leavesOf is the number of leaves of the ranks of a place.
func (p *Pass) leavesOf(place int) (n int) {
	for r := place; r < len(p.plan.Leaves); r += len(p.at) {
		n += p.plan.Leaves[r]
	}
	return n
}

// gatherEnds returns the ends of a chunk of all places.
func (p *Pass) gatherEnds(ctx context.Context, c alltoall.Chunk, ends []int) ([][]int32, error) {
	lists, bufs := make([][]int32, len(p.at)), make([][]byte, len(p.at))
	for place := range lists {
		lists[place] = make([]int32, (c.EndExpert-c.FirstExpert)*p.leavesOf(place))
		bufs[place] = view.Bytes(lists[place])
	}
	me := p.comm.Rank()
	if len(lists[me]) != len(ends) {
		return nil, p.fault(me, fmt.Errorf("%d ends of rows here, want %d", len(ends), len(lists[me])))
	}
	for i, end := range ends {
		lists[me][i] = int32(end)
	}
	return lists, p.comm.AllGatherV(ctx, bufs)
}

// merge puts the segments of a chunk into the plan, and returns where its rows end.
func (p *Pass) merge(c alltoall.Chunk, lists [][]int32) (ends []int, err error) {
	ends = make([]int, 0, (c.EndExpert-c.FirstExpert)*p.plan.TotalLeaves())
	next, last := make([]int, len(lists)), make([]int32, len(lists))
	row := 0 // of the chunk
	for e := c.FirstExpert; e < c.EndExpert; e++ {
		for r, leaves := range p.plan.Leaves {
			place, first := r%len(lists), row
			for range leaves {
				end := lists[place][next[place]]
				if end < last[place] {
					return nil, p.fault(transport.Rank(place), fmt.Errorf("its rows end at %d after %d", end, last[place]))
				}
				row += int(end - last[place])
				next[place], last[place] = next[place]+1, end
				if most := p.most(); p.rows+row > most {
					return nil, p.fault(transport.Rank(place), fmt.Errorf("%w: more than the %d rows of a pass", transport.ErrTooLarge, most))
				}
				ends = append(ends, row)
			}
			p.plan.Segments[e*p.plan.Ranks()+r] = alltoall.Segment{First: p.rows + first, Rows: row - first}
		}
	}
	p.rows += row
	return ends, nil
}

// most is how many rows may be gathered.
func (p *Pass) most() int {
	if p.stage.MaxRows > 0 {
		return p.stage.MaxRows
	}
	return alltoall.DefaultMaxRows
}

// fault is an error of what a place has given.
func (p *Pass) fault(place transport.Rank, err error) error {
	return &transport.Error{Rank: place, Op: "gather within the node", Err: err}
}
