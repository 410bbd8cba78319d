package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// testTimeout is the time until the context of a test's goroutines ends, and grace the time
	// that they have to return then. After both the test fails with all stacks.
	testTimeout, grace = 60 * time.Second, 20 * time.Second
	// soon is a deadline that a test waits for: long enough for an operation to be under way.
	soon = 30 * time.Millisecond
)

// job is one test's ranks.
type job struct {
	*testing.T
	ranks []transport.Transport
	rand  *rand.Rand
}

func newJob(t *testing.T, ranks []transport.Transport) *job {
	t.Helper()
	for r, rank := range ranks {
		require.Equal(t, transport.Rank(r), rank.Rank())
		require.Equal(t, len(ranks), rank.Size())
	}
	j := &job{T: t, ranks: ranks, rand: rand.New(rand.NewPCG(seedOf(t), 0))}
	t.Cleanup(j.close)
	return j
}

func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64()
	if s := os.Getenv("SWITCHYARD_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, "SWITCHYARD_SEED")
	}
	t.Logf("SWITCHYARD_SEED=%d", seed)
	return seed
}

// close closes all ranks at once, as those of a job do.
func (j *job) close() {
	j.within(func() {
		var wg sync.WaitGroup
		for _, t := range j.ranks {
			wg.Go(func() {
				if err := t.Close(); err != nil {
					j.Errorf("rank %d: Close: %v", t.Rank(), err)
				}
			})
		}
		wg.Wait()
	})
}

// within fails the test if do does not return.
func (j *job) within(do func()) {
	j.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	limit := time.NewTimer(testTimeout + grace)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		stacks := make([]byte, 1<<20)
		j.Fatalf("a call hangs:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// part is the function of one goroutine of a test. Its error fails the test and ends the other
// parts' context.
type part = func(ctx context.Context) error

// together runs parts concurrently and fails the test with the first error.
func (j *job) together(parts ...part) {
	j.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	var (
		once  sync.Once
		first error
	)
	j.within(func() {
		var wg sync.WaitGroup
		for _, do := range parts {
			wg.Go(func() {
				if err := do(ctx); err != nil {
					once.Do(func() { first = err; cancel() })
				}
			})
		}
		wg.Wait()
	})
	require.NoError(j, first)
}

// each runs do for every rank at once.
func (j *job) each(do func(ctx context.Context, t transport.Transport) error) {
	j.Helper()
	parts := make([]part, len(j.ranks))
	for r, t := range j.ranks {
		parts[r] = func(ctx context.Context) error {
			if err := do(ctx, t); err != nil {
				return fmt.Errorf("at rank %d: %w", r, err)
			}
			return nil
		}
	}
	j.together(parts...)
}

// all makes one part of several that share nothing.
func all(parts ...part) part {
	return func(ctx context.Context) error {
		errs := make([]error, len(parts))
		var wg sync.WaitGroup
		for i, do := range parts {
			wg.Go(func() { errs[i] = do(ctx) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

// inOrder makes one part that runs parts one after the other.
func inOrder(parts ...part) part {
	return func(ctx context.Context) error {
		for _, do := range parts {
			if err := do(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// send is the part that sends body.
func (j *job) send(from, to int, tag transport.Tag, body []byte) part {
	return func(ctx context.Context) error {
		if err := j.ranks[from].Send(ctx, transport.Rank(to), tag, body); err != nil {
			return fmt.Errorf("rank %d sends %d bytes to %d under tag %d: %w", from, len(body), to, tag, err)
		}
		return nil
	}
}

// recv is the part that expects body.
func (j *job) recv(at, from int, tag transport.Tag, body []byte) part {
	return func(ctx context.Context) error {
		room := make([]byte, len(body))
		n, err := j.ranks[at].Recv(ctx, transport.Rank(from), tag, room)
		if err != nil {
			return fmt.Errorf("rank %d receives %d bytes from %d under tag %d: %w", at, len(body), from, tag, err)
		}
		return same(room[:n], body)
	}
}

// works is the part in which rank a and rank b send each other a message: the transport is usable.
func (j *job) works(a, b int) part {
	const tag = 4711
	there, back := payload(1, 100), payload(2, 3000)
	if a == b {
		return inOrder(j.send(a, a, tag, there), j.recv(a, a, tag, there))
	}
	return all(
		inOrder(j.send(a, b, tag, there), j.recv(a, b, tag, back)),
		inOrder(j.recv(b, a, tag, there), j.send(b, a, tag, back)))
}

// payload returns n bytes that only seed determines.
func payload(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // its error is always nil
	return b
}

// same returns where got differs from want, or nil.
func same(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("the message has %d bytes, want %d", len(got), len(want))
	}
	at := 0
	for got[at] == want[at] {
		at++
	}
	return fmt.Errorf("byte %d of %d is %#x, want %#x", at, len(want), got[at], want[at])
}

// isFault returns why err is not a [transport.Error] that blames culprit and wraps target, or nil.
func isFault(err, target error, culprit transport.Rank) error {
	var e *transport.Error
	switch {
	case err == nil:
		return fmt.Errorf("the call succeeds, want %q", target)
	case !errors.As(err, &e):
		return fmt.Errorf("%T %q is no *transport.Error", err, err)
	case !errors.Is(err, target):
		return fmt.Errorf("%q is not %q", err, target)
	case e.Rank != culprit:
		return fmt.Errorf("%q blames rank %d, want %d", err, e.Rank, culprit)
	case e.Op == "":
		return fmt.Errorf("%q names no operation", err)
	}
	return nil
}
