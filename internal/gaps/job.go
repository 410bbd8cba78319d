package gaps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Counts counts the pieces of jobs. Any goroutine may use it.
type Counts struct{ all, inGaps atomic.Int64 }

// Load returns how many pieces have begun, and how many of them while nobody waited for their job,
// so that they were in a gap.
func (c *Counts) Load() (all, inGaps int) { return int(c.all.Load()), int(c.inGaps.Load()) }

// Job is a collective that runs in pieces, on a goroutine of its own.
type Job struct {
	// Counts, if it is not nil, counts the pieces. It is set before the first of them.
	Counts *Counts

	queue  *Queue
	cancel context.CancelFunc
	done   chan struct{} // closed at the end
	err    error         // what it has ended with

	// The queue's mutex guards what follows.
	turn   *sync.Cond // to look whether pieces may begin
	urgent bool       // somebody waits for the end
}

// Add starts a job, which calls [Job.Piece] for each of its pieces, on any goroutines. Its context
// ends with that of the one who waits for it.
func (q *Queue) Add(run func(ctx context.Context, j *Job) error) *Job {
	ctx, cancel := context.WithCancel(context.Background())
	j := &Job{queue: q, cancel: cancel, done: make(chan struct{}), turn: sync.NewCond(&q.mu)}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = append(q.jobs, j)
	go func() {
		defer j.end()
		j.err = run(ctx, j)
	}()
	return j
}

// Piece runs a piece of the job once this rank sends no rows and the jobs before it have ended; at
// once if somebody waits for the job.
func (j *Job) Piece(do func() error) error {
	j.await()
	return do()
}

func (j *Job) await() {
	q := j.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for !j.urgent && (q.exchanges > 0 || q.jobs[0] != j) {
		j.turn.Wait()
	}
	if c := j.Counts; c != nil {
		c.all.Add(1)
		if !j.urgent {
			c.inGaps.Add(1)
		}
	}
}

// Wait has the job end, and returns what it has ended with. If ctx ends before that so does the
// job, with an error.
func (j *Job) Wait(ctx context.Context) error {
	j.rush()
	stop := context.AfterFunc(ctx, j.cancel)
	defer stop()
	<-j.done
	if why := ctx.Err(); j.err != nil && why != nil && !errors.Is(j.err, why) {
		return fmt.Errorf("%w: %w", j.err, why)
	}
	return j.err
}

// rush has the pieces begin at once from now on.
func (j *Job) rush() {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	j.urgent = true
	j.turn.Broadcast()
}

// end takes the job from the queue.
func (j *Job) end() {
	j.cancel()
	q := j.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = slices.DeleteFunc(q.jobs, func(other *Job) bool { return other == j })
	q.wakeFirst()
	close(j.done)
}
