package switchyard

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// batch is the global batch: how many tokens and groups each rank of the world brought. Groups are
// the leaves of the tree in which gradients are summed.
type batch struct {
	tokens, leaves []int // by rank; tokens that are padding left out
	first          int   // the first rank of this copy of the experts
}

func (b batch) firstLeaf(rank transport.Rank) int { return mat.Sum(b.leaves[:rank]) }

// slots is the number of rows that each group sends to each expert, where the gate's rows are
// mixtures of tokens; else 0.
func (l *Layer) slots() int {
	if g, ok := l.gate.(interface{ Slots() int }); ok {
		return g.Slots()
	}
	return 0
}

// mostFromLeaf is the most rows that an expert gets from a group of tokens where that is not the
// number of tokens.
func (l *Layer) mostFromLeaf() int {
	if l.cfg.Compression.When != Never && l.cfg.Compression.Nodes {
		return alltoall.DefaultMaxRows // rows of other ranks meet here; MaxRows bounds all of them together
	}
	return l.slots()
}

// asks tells whether the ranks of a pass ask each other what they brought before anything else of
// it travels. Where they do not, the counts of the dispatch tell: they are the first message of the
// pass, and go to all ranks. With several copies of the experts they do not go to all, and with
// clusters of a node they are not the first. The answer is the same on every rank.
func (l *Layer) asks(p *pass) bool {
	return l.layout.copies > 1 || l.compression.GathersNode() && l.compresses(p)
}

// census learns what every rank brought, if the ranks ask. cause is this rank's reason for not
// taking part, which fails the pass on every rank before any of them waits for rows.
//
// Direct: 12 bytes to each other rank.
func (l *Layer) census(ctx context.Context, p *pass, cause error) (batch, error) {
	b := batch{first: l.layout.copy * l.layout.parallel}
	if !l.asks(p) {
		return b, nil
	}
	const words = 3 // tokens without padding, groups, 1 if routing failed
	mine := make([]byte, 0, 4*words)
	failed := 0
	if cause != nil {
		failed = 1
	}
	for _, n := range []int{p.real, len(p.ends), failed} {
		mine = binary.LittleEndian.AppendUint32(mine, uint32(n))
	}
	all := make([]byte, len(mine)*l.world.Size())
	if err := l.everyone.AllGather(ctx, all, mine); err != nil {
		return b, errtext.Errorf("switchyard: census: %w", err)
	}
	for r := range l.world.Size() {
		word := func(i int) int { return int(binary.LittleEndian.Uint32(all[4*(words*r+i):])) }
		if word(2) != 0 && cause == nil {
			return b, &transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "census", Err: fmt.Errorf("%w: its own error says why", alltoall.ErrRefused)}
		}
		b.tokens, b.leaves = append(b.tokens, word(0)), append(b.leaves, word(1))
	}
	return b, nil
}

// settle completes the batch from the plan, where the dispatch has told everything.
func (l *Layer) settle(p *pass, plan *alltoall.Plan) {
	if p.batch.leaves == nil {
		p.batch.leaves = append([]int(nil), plan.Leaves...) // the plan is gone before the gradients are summed
		for r, n := range plan.Tokens {
			p.batch.tokens = append(p.batch.tokens, n-plan.Padding[r])
		}
	}
}

// refuse tells the other ranks that this one cannot route its tokens, and returns why:
// [alltoall.ErrRefused], as theirs, where all have heard of it.
func (l *Layer) refuse(ctx context.Context, p *pass, cause error) error {
	var err error
	if l.asks(p) {
		_, err = l.census(ctx, p, cause)
	} else {
		err = l.exchange.Refuse(ctx)
	}
	if err != nil {
		return l.guard.Misuse("route", "%w (and while telling the other ranks: %w)", cause, err)
	}
	return l.guard.Misuse("route", "%w: %w", alltoall.ErrRefused, cause)
}
