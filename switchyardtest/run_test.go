package switchyardtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// trial is a test whose failure is looked at.
type trial struct {
	testing.TB
	mu       sync.Mutex
	text     strings.Builder
	failed   bool
	skipped  bool
	cleanups []func()
}

// try runs a test to its end and returns what became of it.
func try(t *testing.T, test func(t testing.TB)) *trial {
	t.Helper()
	u := &trial{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		test(u)
	}()
	<-ended
	for _, f := range u.cleanups {
		f()
	}
	return u
}

func (u *trial) Helper()                   {}
func (u *trial) Name() string              { return "Trial" }
func (u *trial) Cleanup(f func())          { u.cleanups = append(u.cleanups, f) }
func (u *trial) Log(args ...any)           { u.write(fmt.Sprintln(args...)) }
func (u *trial) Error(args ...any)         { u.Log(args...); u.Fail() }
func (u *trial) Fatal(args ...any)         { u.Log(args...); u.FailNow() }
func (u *trial) Skip(args ...any)          { u.Log(args...); u.SkipNow() }
func (u *trial) FailNow()                  { u.Fail(); runtime.Goexit() }
func (u *trial) SkipNow()                  { u.set(&u.skipped); runtime.Goexit() }
func (u *trial) Fail()                     { u.set(&u.failed) }
func (u *trial) Failed() bool              { return u.is(&u.failed) }
func (u *trial) Skipped() bool             { return u.is(&u.skipped) }
func (u *trial) is(what *bool) bool        { u.mu.Lock(); defer u.mu.Unlock(); return *what }
func (u *trial) set(what *bool)            { u.mu.Lock(); defer u.mu.Unlock(); *what = true }
func (u *trial) write(text string)         { u.mu.Lock(); defer u.mu.Unlock(); u.text.WriteString(text) }
func (u *trial) Logf(f string, a ...any)   { u.Log(fmt.Sprintf(f, a...)) }
func (u *trial) Errorf(f string, a ...any) { u.Error(fmt.Sprintf(f, a...)) }
func (u *trial) Fatalf(f string, a ...any) { u.Fatal(fmt.Sprintf(f, a...)) }

// waitForAll returns when every rank has come to it.
func waitForAll(ctx context.Context, w *switchyard.World) error { return w.Comm().Barrier(ctx) }

func TestRanksMeet(t *testing.T) {
	for _, n := range []int{1, 4} {
		var mu sync.Mutex
		seen := map[transport.Rank]int{}
		Run(t, n, func(ctx context.Context, w *switchyard.World) error {
			mu.Lock()
			seen[w.Rank()] = w.Size()
			mu.Unlock()
			return waitForAll(ctx, w)
		})
		require.Len(t, seen, n)
		for _, size := range seen {
			require.Equal(t, n, size)
		}
	}
}

// TestAnErrorEndsTheOthers, and is told first; theirs are told too.
func TestAnErrorEndsTheOthers(t *testing.T) {
	u := try(t, func(t testing.TB) {
		Run(t, 3, func(ctx context.Context, w *switchyard.World) error {
			if w.Rank() == 1 {
				return errors.New("no tokens")
			}
			return waitForAll(ctx, w)
		})
	})
	require.True(t, u.Failed())
	require.Contains(t, u.text.String(), "switchyardtest: 3 of 3 ranks failed\n\trank 1 failed first: no tokens\n")
	require.Contains(t, u.text.String(), "\trank 0 failed: ")
	require.Contains(t, u.text.String(), "\trank 2 failed: ")
}

func TestAPanicIsTheRanks(t *testing.T) {
	u := try(t, func(t testing.TB) {
		Run(t, 2, func(ctx context.Context, w *switchyard.World) error {
			if w.Rank() == 1 {
				panic("boom")
			}
			<-ctx.Done()
			require.ErrorContains(t, context.Cause(ctx), "rank 1 has failed: it panicked: boom")
			return nil
		})
	})
	require.True(t, u.Failed())
	require.Contains(t, u.text.String(), "1 of 2 ranks failed\n\trank 1 failed first: it panicked: boom\n\t\tgithub.com/switchyard-moe/switchyard/switchyardtest.TestAPanicIsTheRanks.")
	require.Contains(t, u.text.String(), "run_test.go", "the stack is told")
}

// TestRequireInARank: a rank may end its goroutine, by testify's require for one.
func TestRequireInARank(t *testing.T) {
	after := false
	u := try(t, func(t testing.TB) {
		Run(t, 3, func(ctx context.Context, w *switchyard.World) error {
			if w.Rank() == 2 {
				require.Equal(t, 1, 2, "unequal on rank 2")
			}
			return waitForAll(ctx, w)
		})
		after = true
	})
	require.True(t, u.Failed())
	require.False(t, after, "the test ends there")
	require.Contains(t, u.text.String(), "unequal on rank 2")
	require.Contains(t, u.text.String(), "\trank 2 failed first: "+errEnded.Error())
}

func TestARankMaySkipTheTest(t *testing.T) {
	u := try(t, func(t testing.TB) {
		Run(t, 2, func(ctx context.Context, w *switchyard.World) error {
			t.Skip("not here")
			return nil
		})
	})
	require.True(t, u.Skipped())
	require.False(t, u.Failed())
}

// TestARankThatHangs is named with what it waits for: one that obeys nothing by its stack. One that
// waits in spite of its context ends with its world, and by its error.
func TestARankThatHangs(t *testing.T) {
	never := make(chan struct{})
	u := try(t, func(t testing.TB) {
		Config{Timeout: 50 * time.Millisecond, grace: 50 * time.Millisecond}.Run(t, 2, func(ctx context.Context, w *switchyard.World) error {
			if w.Rank() == 0 {
				hang(never)
			}
			return waitForAll(context.Background(), w)
		})
	})
	close(never)
	require.True(t, u.Failed())
	require.Contains(t, u.text.String(), "switchyardtest: 2 of 2 ranks failed\n\trank 1 failed first: ")
	require.Contains(t, u.text.String(), "rank 0 hangs: it has not returned though its context ended (the ranks have not returned within 50ms: ")
	require.Contains(t, u.text.String(), "switchyardtest.hang")
}

// TestTheTimeout is what ranks that obey their context get.
func TestTheTimeout(t *testing.T) {
	u := try(t, func(t testing.TB) {
		Config{Timeout: 50 * time.Millisecond}.Run(t, 2, func(ctx context.Context, w *switchyard.World) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
	})
	require.Contains(t, u.text.String(), "2 of 2 ranks failed\n")
	require.Contains(t, u.text.String(), "failed first: the ranks have not returned within 50ms: context deadline exceeded\n")
}

func hang(never chan struct{}) { <-never }

// TestWrap: a rank that dies of a fault fails itself, and the others name it.
func TestWrap(t *testing.T) {
	var mu sync.Mutex
	culprits := map[transport.Rank]transport.Rank{}
	lost := faulty.Config{Rules: []faulty.Rule{faulty.FailAt(1, 1, nil)}}
	cfg := Config{Wrap: func(end transport.Transport) transport.Transport { return faulty.New(end, lost) }}
	cfg.Run(t, 3, func(ctx context.Context, w *switchyard.World) error {
		var err error
		for err == nil { // a rank may have passed the first barrier when rank 1 dies in it
			err = waitForAll(ctx, w)
		}
		mu.Lock()
		defer mu.Unlock()
		culprits[w.Rank()] = transport.CulpritOf(err)
		return nil
	})
	require.Equal(t, map[transport.Rank]transport.Rank{0: 1, 1: 1, 2: 1}, culprits)
}

func TestWorlds(t *testing.T) {
	var worlds []*switchyard.World
	u := try(t, func(t testing.TB) { worlds = Worlds(t, 2) })
	require.Len(t, worlds, 2)
	require.Len(t, u.cleanups, 1)
	require.Error(t, waitForAll(t.Context(), worlds[0]), "they are closed with the test")
}

func TestNumbersOfRanks(t *testing.T) {
	for _, call := range []func(t testing.TB){
		func(t testing.TB) { Run(t, 0, nil) },
		func(t testing.TB) { Worlds(t, -1) },
	} {
		u := try(t, call)
		require.True(t, u.Failed())
		require.Contains(t, u.text.String(), "want at least 1")
	}
}

// TestErrors: each rank has its own, and one that returns does not end the others.
func TestErrors(t *testing.T) {
	errs := Errors(t, 3, func(ctx context.Context, w *switchyard.World) error {
		switch w.Rank() {
		case 0:
			return errors.New("no tokens")
		case 1:
			return ctx.Err()
		}
		return waitForAll(ctx, w)
	})
	require.EqualError(t, errs[0], "no tokens")
	require.NoError(t, errs[1])
	require.ErrorIs(t, errs[2], transport.ErrPeerClosed)
	u := try(t, func(t testing.TB) {
		Errors(t, 2, func(ctx context.Context, w *switchyard.World) error { panic("boom") })
	})
	require.True(t, u.Failed())
	require.Contains(t, u.text.String(), "first: it panicked: boom")
}
