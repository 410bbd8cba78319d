package switchyardtest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/switchyard-moe/switchyard"
)

// errEnded says that a rank has not returned but ended its goroutine.
var errEnded = errors.New("the rank has ended its goroutine, as t.FailNow and testify's require do")

// outcome is what has become of a rank. Its fields are guarded by the job's mutex.
type outcome struct {
	opened
	world     *switchyard.World
	goroutine []byte // as stacks name it: "goroutine 7 "
	err       error  // what do has returned, of one that is done
	done      bool
}

// runRank is one rank's goroutine.
func (j *job) runRank(o *outcome) {
	j.mu.Lock()
	o.goroutine = thisGoroutine()
	j.mu.Unlock()
	var err error
	broken := errEnded
	defer func() {
		if p := recover(); p != nil {
			broken = fmt.Errorf("it panicked: %v\n%s", p, whereItPanicked(string(debug.Stack())))
		}
		j.leave(o, err, broken)
	}()
	err = j.work(o)
	broken = nil
}

// whereItPanicked is the stack of a goroutine from the call that panicked on.
func whereItPanicked(stack string) string {
	if _, after, ok := strings.Cut(stack, "\npanic("); ok {
		_, after, _ = strings.Cut(after, "\n") // its arguments
		_, after, _ = strings.Cut(after, "\n") // its file
		return after
	}
	return stack
}

// work connects the rank and has it do its work.
func (j *job) work(o *outcome) error {
	w, err := o.connect(j.ctx)
	if err != nil {
		return err
	}
	j.mu.Lock()
	o.world = w
	j.mu.Unlock()
	return j.do(j.ctx, w)
}

// leave notes how a rank has ended, by an error or without returning at all, and closes its world.
func (j *job) leave(o *outcome, err, broken error) {
	switch {
	case broken != nil:
		j.fail(o, broken)
	case err != nil && !j.apart:
		j.fail(o, err)
	}
	if o.world != nil {
		if closing := o.world.Close(); err == nil && broken == nil && closing != nil {
			if err = fmt.Errorf("closing its world: %w", closing); !j.apart {
				j.fail(o, err)
			}
		}
	}
	o.err = err // for the one that takes it from ended
	j.ended <- o
}

// fail notes a failure of the test, and ends all ranks.
func (j *job) fail(o *outcome, why error) {
	j.mu.Lock()
	j.failed = append(j.failed, failed{o.rank, why})
	j.mu.Unlock()
	if j.tell != nil {
		j.tell(why)
	}
	j.end(fmt.Errorf("rank %d has failed: %w", o.rank, why))
}

// thisGoroutine is how stacks name the calling goroutine: "goroutine 7 ".
func thisGoroutine() []byte {
	stack := make([]byte, 64)
	stack = stack[:runtime.Stack(stack, false)]
	return stack[:bytes.IndexByte(stack, '[')]
}

// stackOf returns the stack of a goroutine by that name.
func stackOf(goroutine []byte) string {
	const limit = 16 << 20
	for size := 64 << 10; size <= limit; size *= 4 {
		all := make([]byte, size)
		n := runtime.Stack(all, true)
		if n == size {
			continue
		}
		for one := range bytes.SplitSeq(all[:n], []byte("\n\n")) {
			if bytes.HasPrefix(one, goroutine) {
				return string(one)
			}
		}
	}
	return "its stack cannot be read"
}
