package gradients

import (
	"cmp"
	"context"
	"sync"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Gaps has the sums of plain passes run beside what follows them, in the gaps between exchanges of
// rows. Their bits are those of sums in whole: each element has the same tree.
type Gaps struct {
	// Queue runs the sums of the rank.
	Queue *gaps.Queue
	// Piece is how many bytes of pieces a rank has on their way at a time, at most, unless they have
	// fewer elements than there are ranks. At 0 nothing runs.
	Piece int
	// Comms connect the ranks as those of the reducer do, for these sums alone.
	Comms Comms
	// Counts, if it is not nil, counts the pieces.
	Counts *gaps.Counts
}

// deferred is a pass that Reduce is to reduce or, if there is a job, to wait for.
type deferred struct {
	pass *memory
	job  *gaps.Job
}

// later leaves a pass for Reduce, and begins with it now if sums run in gaps. Rounded sums do not:
// they are of all passes of a step.
func (r *Reducer) later(m *memory) deferred {
	g := &r.cfg.Gaps
	if g.Piece == 0 || r.codec != nil {
		return deferred{pass: m}
	}
	m.comms = g.Comms
	return deferred{m, g.Queue.Add(func(ctx context.Context, j *gaps.Job) error {
		m.job, j.Counts = j, g.Counts
		return r.reduce(ctx, m)
	})}
}

// await reduces a deferred pass, or waits until it is reduced.
func (r *Reducer) await(ctx context.Context, d deferred) error {
	if d.job != nil {
		return d.job.Wait(ctx)
	}
	return r.reduce(ctx, d.pass)
}

// beside is how many pieces of a sum are on their way at a time: while one waits for other ranks
// the next ones use the link.
const beside = 4

// reduce is the function reduce in pieces of a job. If one fails so do the others, as the transport
// is broken then.
func (g *Gaps) reduce(ctx context.Context, j *gaps.Job, comm *collective.Comm, leaves []int, parts ...part) error {
	all := g.pieces(comm.Size(), leaves, parts)
	errs := make([]error, beside)
	var lanes sync.WaitGroup
	for lane := range min(beside, len(all)) {
		lanes.Go(func() {
			c := comm.Pass(uint64(lane))
			defer c.End()
			own := tree.NewSum(0)
			for i := lane; i < len(all) && errs[lane] == nil; i += beside {
				own = cut(own, &all[i])
				errs[lane] = j.Piece(func() error { return c.AllReduceTree(ctx, leaves, [][]float32{all[i].to}, own) })
			}
		})
	}
	lanes.Wait()
	for _, p := range parts {
		p.leaves.Reset()
	}
	return cmp.Or(errs...)
}

// piece is the elements [lo, hi) of the vectors of a sum's nodes, and where their total goes.
type piece struct {
	nodes  []tree.Node
	lo, hi int
	to     []float32
}

// pieces lists those of parts, the same on every rank. None has elements of two parts.
func (g *Gaps) pieces(ranks int, leaves []int, parts []part) (list []piece) {
	size := g.elements(ranks, leaves)
	for _, p := range parts {
		length := p.leaves.Len()
		*p.next = room(*p.next, length)
		for lo := 0; lo < length; lo += size {
			hi := min(lo+size, length)
			list = append(list, piece{p.leaves.Nodes(), lo, hi, (*p.next)[lo:hi]})
		}
	}
	return list
}

// elements is how many elements of a vector a piece has, the same on every rank. In the sum over n
// ranks one that holds k subtrees sends (k+1)·(n-1)/n times the piece.
func (g *Gaps) elements(ranks int, leaves []int) int {
	subtrees, leaf := 0, 0
	var cover []tree.Position
	for _, count := range leaves {
		cover = tree.AppendCover(cover[:0], leaf, leaf+count)
		subtrees, leaf = max(subtrees, len(cover)), leaf+count
	}
	const element = 4
	most := int64(g.Piece) * int64(ranks) / int64(beside*element*(subtrees+1)*(ranks-1))
	return max(int(most), ranks)
}

// cut returns a piece's vectors as a sum, in the memory of to if it has their length.
func cut(to *tree.Sum, p *piece) *tree.Sum {
	if to.Len() == p.hi-p.lo {
		to.Reset()
	} else {
		to = tree.NewSum(p.hi - p.lo)
	}
	for _, n := range p.nodes {
		copy(to.Subtree(n.Position()), n.Sum[p.lo:p.hi])
	}
	return to
}
