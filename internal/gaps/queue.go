// Package gaps runs collectives of one rank that are not urgent, such as sums of gradients, in
// pieces, while it sends no rows: in the gaps of its link.
//
// There are two classes. Rows never wait for a piece: those pieces that are on their way when an
// exchange of rows begins go on beside it, and the next begin when its rows are sent. So an
// exchange shares the link with as many pieces as a job has on their way at a time. (Lina, Li et
// al. 2023; FlowMoE, 2025.)
//
// Ranks agree on nothing here: each has gaps of its own, and a piece ends when all ranks that share
// it have begun it. Pieces cannot wait for good, whatever the ranks are in: the pieces of a job
// that somebody waits for begin at once, as if the one who waits had called the collective.
package gaps

import "sync"

// Queue is the jobs of one rank, which run in the order in which they were added: ranks that add
// the same jobs in the same order work on the same one. Any goroutine may use it. The zero value is
// an empty queue.
type Queue struct {
	mu        sync.Mutex
	exchanges int    // that send
	jobs      []*Job // that have not ended
}

// Begin notes that an exchange of rows begins to send, and End that it has sent all. Neither waits.
// Begin reports whether there are jobs.
func (q *Queue) Begin() (busy bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.exchanges++
	return len(q.jobs) > 0
}

// End is the opposite of Begin.
func (q *Queue) End() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.exchanges--
	q.wakeFirst()
}

// Close waits for all jobs, without regard to exchanges. It is for a rank whose transport has been
// closed, so that they end at once.
func (q *Queue) Close() {
	q.mu.Lock()
	jobs := append([]*Job(nil), q.jobs...)
	q.mu.Unlock()
	for _, j := range jobs {
		j.rush()
		<-j.done
	}
}

// wakeFirst has the first job look whether it may go on.
func (q *Queue) wakeFirst() {
	if q.exchanges == 0 && len(q.jobs) > 0 {
		q.jobs[0].turn.Broadcast()
	}
}
