package mesh

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

// openWatched opens the mesh of n ranks whose programs keep logs.
func openWatched(t *testing.T, n int, change func(c *Config)) ([]*Mesh, []*lockstep.Log) {
	ends, logs := openAll(t, n, change), make([]*lockstep.Log, n)
	for r, e := range ends {
		logs[r] = lockstep.New(transport.Rank(r))
		e.Watch(logs[r])
	}
	return ends, logs
}

// TestWaitingRanksStateWhatTheyAreIn: all ranks get the error with both sides, also those that took
// no part in finding it.
func TestWaitingRanksStateWhatTheyAreIn(t *testing.T) {
	ends, logs := openWatched(t, 3, nil)
	for r, name := range []string{"Forward", "Eval", "Forward"} {
		logs[r].Begin(1, "layer 1", name)
	}
	for r, err := range receiveAll(t, ends, []transport.Rank{1, 0, 0}) {
		require.ErrorIs(t, err, transport.ErrOutOfStep, "rank %d", r)
		require.Equal(t, transport.None, transport.CulpritOf(err))
		require.ErrorContains(t, err, "layer 1: Forward #1")
		require.ErrorContains(t, err, "layer 1: Eval #1")
	}
}

// receiveAll has every rank receive from another, which sends nothing.
func receiveAll(t *testing.T, ends []*Mesh, from []transport.Rank) []error {
	errs := make([]error, len(ends))
	var wg sync.WaitGroup
	for r, e := range ends {
		wg.Go(func() { _, errs[r] = e.Recv(t.Context(), from[r], 1, make([]byte, 8)) })
	}
	wg.Wait()
	return errs
}

// TestAMessageThatDoesNotFitIsExplained: a message that is too long for who receives it is what
// ranks out of step often meet first.
func TestAMessageThatDoesNotFitIsExplained(t *testing.T) {
	for name, first := range map[string]bool{"message first": true, "receiver first": false} {
		t.Run(name, func(t *testing.T) {
			ends, logs := openWatched(t, 2, nil)
			logs[0].Begin(1, "layer 1", "Backward")
			logs[1].Begin(1, "layer 1", "Forward").End(true)
			sent := make(chan error, 1)
			if first {
				require.NoError(t, ends[1].Send(t.Context(), 0, 1, make([]byte, 100)))
				require.NoError(t, ends[1].Send(t.Context(), 0, 2, nil))
				_, err := ends[0].Recv(t.Context(), 1, 2) // the message before has come
				require.NoError(t, err)
			} else {
				go func() { sent <- ends[1].Send(t.Context(), 0, 1, make([]byte, 100)) }()
			}
			_, err := ends[0].Recv(t.Context(), 1, 1, make([]byte, 8))
			require.ErrorIs(t, err, transport.ErrOutOfStep)
			require.ErrorContains(t, err, "rank 0 is in layer 1: Backward #1, rank 1 has begun layer 1: Forward #1")
		})
	}
	t.Run("in step", func(t *testing.T) {
		ends, logs := openWatched(t, 2, nil)
		for _, l := range logs {
			l.Begin(1, "layer 1", "Forward")
		}
		require.NoError(t, ends[1].Send(t.Context(), 0, 1, make([]byte, 100)))
		begun := time.Now()
		_, err := ends[0].Recv(t.Context(), 1, 1, make([]byte, 8))
		require.ErrorIs(t, err, transport.ErrTruncated)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		require.Less(t, time.Since(begun), atLast)
	})
}

// TestRanksThatWaitForEachOtherElsewhere: neither is in an operation that the other has begun.
func TestRanksThatWaitForEachOtherElsewhere(t *testing.T) {
	ends, logs := openWatched(t, 2, nil)
	logs[0].Begin(0, "", "NewLayer")
	logs[1].Begin(1, "layer 1", "Step")
	for r, err := range receiveAll(t, ends, []transport.Rank{1, 0}) {
		require.ErrorIs(t, err, transport.ErrOutOfStep, "rank %d", r)
		require.ErrorContains(t, err, "NewLayer #1")
		require.ErrorContains(t, err, "layer 1: Step #1")
	}
}

// TestATimeoutStatesWhatAllAreIn, and blames none that waits itself.
func TestATimeoutStatesWhatAllAreIn(t *testing.T) {
	ends, logs := openWatched(t, 3, func(c *Config) {
		if c.OpTimeout = time.Hour; c.Rank == 0 {
			c.OpTimeout = 8 * time.Second // long enough to hear of rank 1 on a busy machine
		}
	})
	for _, l := range logs[:2] {
		l.Begin(1, "layer 1", "Forward")
	}
	errs := receiveAll(t, ends, []transport.Rank{1, 2, 1})
	for r, err := range errs {
		require.ErrorIs(t, err, transport.ErrTimeout, "rank %d", r)
		require.Equal(t, transport.None, transport.CulpritOf(err))
		require.ErrorContains(t, err, "rank 0 is in layer 1: Forward #1")
		require.ErrorContains(t, err, "that it was in layer 1: Forward #1")
	}
}

// TestAStatementThatDoesNotParseBreaks the mesh and names who sent it.
func TestAStatementThatDoesNotParseBreaks(t *testing.T) {
	for name, send := range map[string]func(p *peer){
		"content": func(p *peer) { p.sendStatement(statementOnly, []byte{7}) },
		"kind":    func(p *peer) { p.sendStatement(statementAnswer+1, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			ends, _ := openWatched(t, 2, nil)
			send(ends[1].peers[0])
			_, err := ends[0].Recv(t.Context(), 1, 1, make([]byte, 8))
			require.ErrorIs(t, err, transport.ErrProtocol)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		})
	}
}

// TestSettle: a rank whose operation has failed finds that its peers are in another one, and they
// find it too.
func TestSettle(t *testing.T) {
	ends, logs := openWatched(t, 3, nil)
	for _, l := range logs {
		l.Begin(1, "layer 1", "Forward").End(true)
	}
	require.NoError(t, ends[0].Settle(), "all is well")
	logs[0].Begin(1, "layer 1", "Step").End(false) // it has failed, and is known by its number
	logs[1].Begin(1, "layer 1", "Eval")
	require.ErrorIs(t, ends[1].Settle(), transport.ErrOutOfStep)
	for r := range ends {
		_, err := ends[r].Recv(t.Context(), transport.Rank((r+1)%3), 1)
		require.ErrorIs(t, err, transport.ErrOutOfStep)
		require.ErrorContains(t, err, "layer 1: Eval #2")
		require.ErrorContains(t, err, "layer 1: Step #2")
	}
}
