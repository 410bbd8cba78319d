package batch

import (
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// Global is the global batch: what each rank of the world brought. Token groups are the leaves of
// the tree in which gradients are summed.
type Global struct {
	// Tokens is the number of tokens of each rank, padding left out.
	Tokens []int
	// Leaves is the number of token groups of each rank.
	Leaves []int
	// First is the first rank of this copy of the experts.
	First int
}

// FirstLeaf is the number of the first token group of a rank.
func (g Global) FirstLeaf(rank transport.Rank) int { return mat.Sum(g.Leaves[:rank]) }

// TotalTokens is the number of tokens of all ranks, padding left out.
func (g Global) TotalTokens() int { return mat.Sum(g.Tokens) }

// FillFromPlan completes a batch of which nothing was known before the dispatch, which tells
// everything. It keeps nothing of plan.
func (g *Global) FillFromPlan(plan *alltoall.Plan) {
	if g.Leaves != nil {
		return
	}
	g.Leaves = slices.Clone(plan.Leaves)
	for r, n := range plan.Tokens {
		g.Tokens = append(g.Tokens, n-plan.Padding[r])
	}
}
