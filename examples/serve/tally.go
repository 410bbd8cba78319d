package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// tally is what the clients of a load test have seen.
type tally struct {
	mu       sync.Mutex
	begun    time.Time
	took     []time.Duration // of right answers
	last     time.Time       // right answer
	gap      time.Duration   // the longest time without one
	kinds    map[string]int  // of clear errors
	example  map[string]string
	wrong    []error // answers that are wrong, and errors that say nothing
	restarts int
	after    int // right answers after the last restart
}

func newTally() *tally {
	now := time.Now()
	return &tally{begun: now, last: now, kinds: map[string]int{}, example: map[string]string{}}
}

// right counts a right answer to a request that was sent at a time.
func (t *tally) right(sent time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.took = append(t.took, now.Sub(sent))
	t.gap, t.last = max(t.gap, now.Sub(t.last)), now
	t.after++
}

// refused counts a clear error.
func (t *tally) refused(kind, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kinds[kind]++
	t.example[kind] = text
}

func (t *tally) bad(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, err)
}

func (t *tally) restarted() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restarts++
	t.after = 0
}

// report prints the result, and returns an error if it is not as it must be.
func (t *tally) report(w io.Writer, clients int, killed bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	span := time.Since(t.begun)
	slices.Sort(t.took)
	fmt.Fprintf(w, "%d clients, %.1f s: %d right answers, %.0f/s", clients, span.Seconds(), len(t.took), float64(len(t.took))/span.Seconds())
	if n := len(t.took); n > 0 {
		fmt.Fprintf(w, "; p50 %.1f ms, p99 %.1f ms", milliseconds(t.took[n/2]), milliseconds(t.took[n*99/100]))
	}
	fmt.Fprintf(w, "; longest time without one %.2f s\n", max(t.gap, time.Since(t.last)).Seconds())
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		fmt.Fprintf(w, "clear errors, %s: %d, such as: %.160s\n", kind, t.kinds[kind], t.example[kind])
	}
	fmt.Fprintf(w, "wrong answers and unclear errors: %d\n", len(t.wrong))
	if killed {
		fmt.Fprintf(w, "restarts: %d, right answers after the last one: %d\n", t.restarts, t.after)
	}
	switch {
	case len(t.wrong) > 0:
		return fmt.Errorf("%d wrong answers or unclear errors, such as: %w", len(t.wrong), t.wrong[0])
	case len(t.took) == 0:
		return errors.New("no right answer")
	case killed && (t.restarts == 0 || t.after == 0):
		return errors.New("no right answer after the rank was killed")
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
