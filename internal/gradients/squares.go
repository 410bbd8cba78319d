package gradients

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Owner has gradients of a step, which it sums over the ranks: a [Reducer] or a [Dense].
type Owner interface {
	// Comm connects all ranks of the world.
	Comm() *collective.Comm
	// ReduceAll sums what is not yet summed. Every rank calls it.
	ReduceAll(ctx context.Context) error
	// Squares returns the sums of squares of the gradients that ReduceAll has summed.
	Squares() Squares
	// Scale multiplies these gradients.
	Scale(factor float32)
}

// Squares are the sums of squares of the gradients of one [Owner], as far as a rank computes them.
// Their order is fixed: the elements of a tensor of an expert as [f32.SumSquares] adds them, the
// tensors of an expert in their order, the experts over the binary tree of package tree, in
// float64, and then what every rank holds. So the total has the same bits on any number of ranks.
type Squares struct {
	// Held are those of each set that every rank holds.
	Held []HeldSquares
	// Experts are those of the experts that this rank answers for: the nodes of the tree, in the
	// order of [tree.Cover] of each range.
	Experts []float64
	// Answers says for which experts each rank of the world answers: ranges in the order of their
	// numbers. Each expert has one rank of those that host it. It is nil if experts have no gradients.
	Answers [][]ExpertRange
}

// HeldSquares is the sum of squares of the gradient of one set that every rank holds.
type HeldSquares struct {
	Name string
	Sum  float64
}

// ExpertRange is consecutive experts, from Begin to before End.
type ExpertRange struct{ Begin, End int }

// Comm connects all ranks of the world.
func (r *Reducer) Comm() *collective.Comm { return r.cfg.World }

// Squares returns the sums of squares of the gradients of all passes that have been reduced.
func (r *Reducer) Squares() Squares {
	var s Squares
	s.hold("the gate", r.cfg.Sets.Gate, r.gateGradient())
	s.hold("the shared expert", r.cfg.Sets.Shared, r.sums[sharedSet].total)
	s.hold("the gains of compression", r.cfg.Sets.Gains, r.sums[gainsSet].total)
	if !r.Frozen(param.Expert) {
		s.Answers = answers(r.cfg.Placement, r.cfg.Order, r.cfg.World.Size())
		s.Experts = r.squaresOfExperts(s.Answers[r.cfg.World.Rank()])
	}
	return s
}

// hold adds a set that every rank holds, if there is one that is not frozen.
func (s *Squares) hold(name string, set *param.Set, grad []float32) {
	if trained(set) == nil {
		return
	}
	sum := 0.0
	for i := range set.Tensors() {
		sum += f32.SumSquares(set.Of(grad, i))
	}
	s.Held = append(s.Held, HeldSquares{name, sum})
}

// answers says for which experts each rank of the world answers: those that it hosts, if it is one
// of the first copy.
func answers(p alltoall.Placement, order layout.Order, ranks int) [][]ExpertRange {
	list := make([][]ExpertRange, ranks)
	for r := range min(ranks, p.Ranks()) {
		for _, e := range hosted(p, order, r) {
			if last := len(list[r]) - 1; last >= 0 && list[r][last].End == e {
				list[r][last].End++
			} else {
				list[r] = append(list[r], ExpertRange{e, e + 1})
			}
		}
	}
	return list
}

// hosted lists the experts of a rank, in the order of their numbers.
func hosted(p alltoall.Placement, order layout.Order, rank int) (experts []int) {
	begin, end := p.Of(rank)
	for position := begin; position < end; position++ {
		experts = append(experts, order.Expert(position))
	}
	slices.Sort(experts)
	return experts
}

// squaresOfExperts returns the nodes of the experts that this rank answers for, all that it hosts
// or none.
func (r *Reducer) squaresOfExperts(of []ExpertRange) []float64 {
	first, end := r.cfg.Placement.Of(int(r.cfg.World.Rank()) % r.cfg.ExpertParallel)
	if len(of) == 0 {
		return []float64{}
	}
	each := make([]float64, end-first)
	rest := each
	for g, set := range r.cfg.Sets.Experts {
		if len(rest) > 0 && set != nil && len(set.Tensors()) > 0 {
			n := set.Tensors()[0].Shape[0]
			addSquares(rest[:n], set, r.sums[expertSets+g].total)
			rest = rest[n:]
		}
	}
	var t squaresTree
	list := []float64{}
	for _, experts := range of {
		t = t[:0]
		for e := experts.Begin; e < experts.End; e++ {
			t.add(tree.Position{Index: e}, each[r.cfg.Order.Position(e)-first])
		}
		list = append(list, t.sums()...)
	}
	return list
}

// addSquares adds the squares of each expert of a set to its sum.
func addSquares(sums []float64, set *param.Set, grad []float32) {
	for i := range set.Tensors() {
		all := set.Of(grad, i)
		each := len(all) / max(len(sums), 1)
		for e := range sums {
			sums[e] += f32.SumSquares(all[e*each : (e+1)*each])
		}
	}
}

// squaresTree is the maximal complete nodes of a tree over float64 numbers so far.
type squaresTree []squaresNode

type squaresNode struct {
	at  tree.Position
	sum float64
}

// add adds a node, which follows those before it.
func (t *squaresTree) add(at tree.Position, sum float64) {
	list := append(*t, squaresNode{at, sum})
	for n := len(list); n > 1; n-- {
		left, right := &list[n-2], &list[n-1]
		if left.at.Level != right.at.Level || left.at.Index%2 == 1 {
			break
		}
		left.at = tree.Position{Level: left.at.Level + 1, Index: left.at.Index / 2}
		left.sum += right.sum
		list = list[:n-1]
	}
	*t = list
}

// sums are those of the nodes.
func (t squaresTree) sums() []float64 {
	list := make([]float64, len(t))
	for i, n := range t {
		list[i] = n.sum
	}
	return list
}

// total is the sum of all: a node without a right sibling is passed up until it meets one.
func (t squaresTree) total() float64 {
	sum := 0.0
	for i := len(t) - 1; i >= 0; i-- {
		sum += t[i].sum
	}
	return sum
}
