package transporttest

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

var errorClaims = []claim{
	{"Truncated", "a message longer than its buffers is ErrTruncated and names its sender", 2, testTruncated},
	{"TruncatedExchange", "so it is in an exchange", 2, testTruncatedExchange},
	{"Broken", "every pending and later call of a broken transport, on any peer, returns the same error", 3, testBroken},
	{"Culprit", "a rank whose transport breaks sends its peers the reason: all of them name the same culprit", 3, testCulprit},
	{"RankOutOfRange", "a rank outside [0, Size) panics", 2, testRankOutOfRange},
}

// truncate sends rank 0 a message from rank 1 that is too long, and returns the error of rank 0's
// receive.
func (j *job) truncate(ctx context.Context) error {
	var err error
	_ = all(
		// The sender may or may not get the error.
		func(ctx context.Context) error { return j.ranks[1].Send(ctx, 0, 3, make([]byte, 100)) },
		func(ctx context.Context) error { _, err = j.ranks[0].Recv(ctx, 1, 3, make([]byte, 99)); return nil },
	)(ctx)
	return err
}

func testTruncated(j *job) {
	j.together(func(ctx context.Context) error { return isFault(j.truncate(ctx), transport.ErrTruncated, 1) })
}

func testBroken(j *job) {
	j.together(func(ctx context.Context) error {
		var pending, broken error
		_ = all(
			func(ctx context.Context) error { _, pending = j.ranks[0].Recv(ctx, 2, 8, make([]byte, 5)); return nil },
			func(ctx context.Context) error { broken = j.truncate(ctx); return nil },
		)(ctx)
		if broken == nil {
			return isFault(broken, transport.ErrTruncated, 1)
		}
		_, recv := j.ranks[0].Recv(ctx, 1, 9)
		later := map[string]error{
			"pending receive": pending,
			"receive":         recv,
			"send":            j.ranks[0].Send(ctx, 2, 9, nil),
			"send to itself":  j.ranks[0].Send(ctx, 0, 9, nil),
			"exchange":        transport.Exchange(ctx, j.ranks[0], []transport.Message{message(2, 9)}, nil),
		}
		for call, err := range later {
			if err := isFault(err, transport.ErrTruncated, 1); err != nil {
				return fmt.Errorf("%s: %w", call, err)
			}
		}
		return nil
	})
}

func testCulprit(j *job) {
	var broken, heard error
	j.together(
		func(ctx context.Context) error { broken = j.truncate(ctx); return nil },
		func(ctx context.Context) error { _, heard = j.ranks[2].Recv(ctx, 0, 8, make([]byte, 5)); return nil })
	require.Error(j, heard)
	require.Equal(j, transport.CulpritOf(broken), transport.CulpritOf(heard), "rank 0 has %q, rank 2 has %q", broken, heard)
}

func testRankOutOfRange(j *job) {
	ctx := context.Background()
	for _, peer := range []transport.Rank{-1, 2, 1 << 30} {
		require.Panics(j, func() { _ = j.ranks[0].Send(ctx, peer, 1) }, "Send to rank %d", peer)
		require.Panics(j, func() { _, _ = j.ranks[0].Recv(ctx, peer, 1) }, "Recv from rank %d", peer)
		if _, ok := j.ranks[0].(transport.Exchanger); !ok {
			continue // goroutines call Send and Recv then, whose panics cannot be recovered
		}
		wrong := []transport.Message{message(0, 1), message(int(peer), 1)}
		require.Panics(j, func() { _ = transport.Exchange(ctx, j.ranks[0], wrong, nil) }, "Exchange to rank %d", peer)
		require.Panics(j, func() { _ = transport.Exchange(ctx, j.ranks[0], nil, wrong) }, "Exchange from rank %d", peer)
	}
	j.together(j.works(0, 1))
}

func testTruncatedExchange(j *job) {
	var err error
	j.together(func(ctx context.Context) error {
		_ = all(
			// The sender may or may not get the error.
			func(ctx context.Context) error { return j.ranks[1].Send(ctx, 0, 3, make([]byte, 100)) },
			func(ctx context.Context) error {
				recvs := []transport.Message{message(1, 3, make([]byte, 50), make([]byte, 49)), message(1, 4, make([]byte, 9))}
				err = transport.Exchange(ctx, j.ranks[0], nil, recvs)
				return nil
			},
		)(ctx)
		return isFault(err, transport.ErrTruncated, 1)
	})
}
