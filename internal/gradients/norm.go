package gradients

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// Norm is the L2 norm of the gradients of several owners together.
type Norm struct {
	// Value is the norm, with the same bits on every rank.
	Value float64
	// Said is what each rank has said, and Held is the same number of each rank if those parts of
	// the owners that every rank holds have the same squares on all of them. Nil if nothing was said.
	Said, Held []float64
	// Fault is nil if Value is finite.
	Fault *NotFinite
}

// NotFinite says which gradients are not finite, the first of several.
type NotFinite struct {
	// Owner is the number of the owner, and What names the part of it.
	Owner int
	What  string
	// Rank is a rank that hosts them, or transport.None if every rank does.
	Rank transport.Rank
}

// NormOf returns the norm of the gradients that owners have summed. Every rank calls it, with the
// same owners in the same order, and may say one number.
//
// Direct: each rank sends each other 16 bytes if it says something, and for each owner 8 for each
// node of the tree over the experts for which it answers: one node where each rank hosts the same
// power of two of experts, otherwise at most two for each bit of the number that it hosts. If no
// rank has anything to send there is no message.
func NormOf(ctx context.Context, comm *collective.Comm, owners []Squares, say ...float64) (Norm, error) {
	if len(say) > 0 {
		say = []float64{say[0], digestOfHeld(owners)}
	}
	all, err := gatherSquares(ctx, comm, owners, say)
	if err != nil {
		return Norm{}, err
	}
	var n Norm
	if len(say) > 0 {
		for r, of := range all {
			n.Said, n.Held, all[r] = append(n.Said, of[0]), append(n.Held, of[1]), of[2:]
		}
	}
	sum := 0.0
	for i := range owners {
		sum += n.add(i, &owners[i], all)
	}
	n.Value = math.Sqrt(sum)
	return n, nil
}

// digestOfHeld is a whole number, of the names and sums of what every rank holds of the owners. All
// that is no number counts the same: which bits it has is the processor's affair.
func digestOfHeld(owners []Squares) float64 {
	h := fnv.New64a()
	for _, s := range owners {
		fmt.Fprintln(h, len(s.Held), len(s.Answers))
		for _, held := range s.Held {
			fmt.Fprintf(h, "%q %x\n", held.Name, held.Sum)
		}
	}
	return float64(h.Sum64() >> 11)
}

// add returns the sum of squares of owner number i, whose nodes are the next ones of each rank.
func (n *Norm) add(i int, s *Squares, all [][]float64) float64 {
	var t squaresTree
	for _, of := range s.nodes(all) {
		t.add(of.at, of.sum)
		if n.Fault == nil && of.sum-of.sum != 0 {
			begin, end := of.at.Leaves()
			n.Fault = &NotFinite{i, fmt.Sprintf("experts %d to %d", begin, end-1), of.rank}
		}
	}
	total := t.total()
	for _, held := range s.Held {
		total += held.Sum
		if n.Fault == nil && held.Sum-held.Sum != 0 {
			n.Fault = &NotFinite{i, held.Name, transport.None}
		}
	}
	return total
}

// rankNode is a node that a rank has sent.
type rankNode struct {
	squaresNode
	rank transport.Rank
}

// nodes takes the next nodes of each rank, and returns them in the order of experts.
func (s *Squares) nodes(all [][]float64) (list []rankNode) {
	for r, ranges := range s.Answers {
		for _, of := range ranges {
			for _, at := range tree.Cover(of.Begin, of.End) {
				list = append(list, rankNode{squaresNode{at, all[r][0]}, transport.Rank(r)})
				all[r] = all[r][1:]
			}
		}
	}
	slices.SortFunc(list, func(a, b rankNode) int {
		first, _ := a.at.Leaves()
		second, _ := b.at.Leaves()
		return cmp.Compare(first, second)
	})
	return list
}

// gatherSquares returns what each rank says, followed by its nodes of each owner.
func gatherSquares(
	ctx context.Context, comm *collective.Comm, owners []Squares, say []float64,
) ([][]float64, error) {
	all, bufs, empty := make([][]float64, comm.Size()), make([][]byte, comm.Size()), true
	for r := range all {
		n := len(say)
		for _, s := range owners {
			if s.Answers != nil {
				for _, of := range s.Answers[r] {
					n += len(tree.Cover(of.Begin, of.End))
				}
			}
		}
		all[r] = make([]float64, n)
		bufs[r], empty = view.Bytes(all[r]), empty && n == 0
	}
	mine := all[comm.Rank()][:0]
	mine = append(mine, say...)
	for _, s := range owners {
		mine = append(mine, s.Experts...)
	}
	if empty {
		return all, nil
	}
	return all, comm.AllGatherV(ctx, bufs)
}
