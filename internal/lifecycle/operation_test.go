package lifecycle_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

// settling is a transport that finds ranks out of step when it is asked.
type settling struct {
	transport.Transport
	asked *int
	found error
}

func (s settling) Watch(transport.Program) {}
func (s settling) Settle() error           { *s.asked++; return s.found }

// TestRanksOutOfStepAreTheBetterError of those that they may cause, unless all ranks agree.
func TestRanksOutOfStepAreTheBetterError(t *testing.T) {
	asked, found := 0, fmt.Errorf("%w: found", transport.ErrOutOfStep)
	o := lifecycle.Operations{Log: lockstep.New(0), Transport: settling{asked: &asked, found: found}}
	truncated := fmt.Errorf("recv: %w", transport.ErrTruncated)
	require.Equal(t, found, o.Begin(1, "layer 1", "Forward")(truncated))
	require.Equal(t, 1, asked)
	agreed := lifecycle.Agreed(truncated)
	dead := errors.New("a rank died")
	for _, err := range []error{nil, agreed, dead} {
		require.Equal(t, err, o.Begin(1, "layer 1", "Forward")(err))
	}
	require.Equal(t, 1, asked, "nothing else is a sign of it")
	o.Transport = settling{asked: &asked}
	require.Equal(t, truncated, o.Begin(1, "layer 1", "Forward")(truncated), "none is found")
}

// TestOperationsAreInTheLog while they run: a peer that is in another one learns of it.
func TestOperationsAreInTheLog(t *testing.T) {
	mine, theirs := lockstep.New(0), lockstep.New(1)
	o := lifecycle.Operations{Log: mine, Transport: settling{asked: new(int)}}
	end := o.Begin(1, "layer 1", "Forward")
	theirs.Begin(1, "layer 1", "Eval")
	require.ErrorIs(t, theirs.Compare(0, mine.Statement(1, time.Second), time.Second), transport.ErrOutOfStep)
	require.NoError(t, end(nil))
	require.Empty(t, mine.Statement(1, time.Second))
}

// TestTurn: what several layers do is never done at the same time, and a panic ends the turn.
func TestTurn(t *testing.T) {
	lock, n := new(sync.Mutex), 0
	turns := []*lifecycle.Turn{{Lock: lock}, {Lock: lock}}
	var wg sync.WaitGroup
	for _, turn := range turns {
		wg.Go(func() {
			for range 100 {
				turn.Do(func() { n++ })
			}
		})
	}
	wg.Wait()
	require.Equal(t, 200, n)
	require.Panics(t, func() { turns[0].Do(func() { panic("an expert") }) })
	turns[1].Do(func() { n++ })
	new(lifecycle.Turn).Do(func() { n++ })
	(*lifecycle.Turn)(nil).Do(func() { n++ })
	require.Equal(t, 203, n)
}
