package routing

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Where the ranks do not gather what they have, the counts of the dispatch tell: they are the first
// message of the pass, and go to all ranks. With several copies of the experts they do not go to
// all, and where rows of a node are gathered they are not the first.

// infoWords is the number of words that a rank says of its batch: tokens without padding, token
// groups, and 1 if it cannot route them.
const infoWords = 3

// gatherBatchInfo learns what every rank has, if the ranks gather it. cause is this rank's reason
// not to take part, which fails the pass on every rank before any of them waits for rows.
//
// Direct: 12 bytes to each other rank.
func (s *Stage) gatherBatchInfo(
	ctx context.Context, with Ranks, t *batch.Tokens, gather bool, cause error,
) (batch.Global, error) {
	size := s.cfg.Comm.Size()
	perCopy := size / s.cfg.Replicas
	g := batch.Global{First: int(s.cfg.Comm.Rank()) / perCopy * perCopy}
	if !gather {
		return g, nil
	}
	mine := make([]byte, 0, 4*infoWords)
	failed := 0
	if cause != nil {
		failed = 1
	}
	for _, n := range []int{t.Real, len(t.Info.Ends), failed} {
		mine = binary.LittleEndian.AppendUint32(mine, uint32(n))
	}
	all := make([]byte, len(mine)*size)
	if err := with.Comm.AllGather(ctx, all, mine); err != nil {
		return g, errtext.Errorf("switchyard: sizes of the global batch: %w", err)
	}
	for r := range size {
		word := func(i int) int { return int(binary.LittleEndian.Uint32(all[4*(infoWords*r+i):])) }
		if word(2) != 0 && cause == nil {
			return g, &transport.Error{Rank: s.cfg.Joined(transport.Rank(r)), Op: "route",
				Err: fmt.Errorf("%w: its own error says why", alltoall.ErrRefused)}
		}
		g.Tokens, g.Leaves = append(g.Tokens, word(0)), append(g.Leaves, word(1))
	}
	return g, nil
}

// abort tells the other ranks that this one cannot route its tokens, and returns why:
// [alltoall.ErrRefused], as theirs, if all have heard of it.
func (s *Stage) abort(ctx context.Context, with Ranks, t *batch.Tokens, gather bool, cause error) error {
	var err error
	if gather {
		_, err = s.gatherBatchInfo(ctx, with, t, gather, cause)
	} else {
		err = with.Dispatch.Abort(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%w (and while telling the other ranks: %w)", cause, err)
	} else {
		err = fmt.Errorf("%w: %w", alltoall.ErrRefused, cause)
	}
	return &transport.Error{Rank: s.cfg.Joined(s.cfg.Comm.Rank()), Op: "route", Err: err}
}

// awaitAbort takes this rank's part in learning which of the others cannot route its tokens, and
// returns that.
func (s *Stage) awaitAbort(ctx context.Context, with Ranks, t *batch.Tokens, gather bool) error {
	if gather {
		_, err := s.gatherBatchInfo(ctx, with, t, gather, nil)
		return err
	}
	return with.Dispatch.AwaitAbort(ctx)
}
