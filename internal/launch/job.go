package launch

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

// job is one call of Run.
type job struct {
	cfg   Config
	out   *lines
	procs []*process
	// ended gets each rank as its process ends, in that order.
	ended chan *process
	// release lets go of the thread that started the ranks.
	release chan struct{}
	// dismiss sends the guard away.
	dismiss func()

	// first is the failure that came before all others.
	first *ExitError
	// stops counts the signals passed on that ask the ranks to stop.
	stops int
	// kill fires when the grace of ranks that were told to end is over; it is nil until they are.
	kill <-chan time.Time
}

// start starts all ranks or none.
func (j *job) start() error {
	j.ended = make(chan *process, j.cfg.Ranks)
	j.release = make(chan struct{})
	started := make(chan error)
	go j.startOnOwnThread(started)
	err := <-started
	j.dismiss = guard(j.procs)
	if err != nil {
		j.signal(syscall.SIGKILL)
		for range j.procs {
			<-j.ended
		}
		j.finish()
		return err
	}
	return nil
}

// startOnOwnThread keeps the thread that starts the ranks alive as long as they are: the system
// takes the death of that thread, not only of the process, for the death of the ranks' parent.
func (j *job) startOnOwnThread(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id := rand.Text()
	for rank := range j.cfg.Ranks {
		p, err := j.startProcess(rank, id)
		if err != nil {
			started <- err
			break
		}
		j.procs = append(j.procs, p)
		go j.await(p)
		if rank == j.cfg.Ranks-1 {
			started <- nil
		}
	}
	<-j.release
}

func (j *job) await(p *process) {
	_ = p.cmd.Wait() // ProcessState tells more
	close(p.exited)
	j.ended <- p
}

// wait sees the job to its end.
func (j *job) wait(ctx context.Context) error {
	var cause error
	done := ctx.Done()
	for left := len(j.procs); left > 0; {
		select {
		case p := <-j.ended:
			left--
			j.noteExit(p)
		case sig := <-j.cfg.Signals:
			j.forward(sig)
		case <-done:
			cause, done = context.Cause(ctx), nil
			j.end()
		case <-j.kill:
			j.signal(syscall.SIGKILL)
		}
	}
	j.finish()
	if j.first == nil {
		return cause
	}
	return errors.Join(cause, j.first)
}

// noteExit ends the job when p failed, for the others would wait for it.
func (j *job) noteExit(p *process) {
	failure := failureOf(p.rank, p.cmd.ProcessState)
	if failure == nil {
		return
	}
	if j.first == nil {
		j.first = failure
	}
	j.end()
}

// forward passes sig on. Ranks may take their time over the first request to stop; who asks twice
// is in a hurry.
func (j *job) forward(sig os.Signal) {
	j.signal(sig)
	if !isStop(sig) {
		return
	}
	if j.stops++; j.stops > 1 {
		j.end()
	}
}

// end tells all ranks to end, and starts the clock after which they are killed.
func (j *job) end() {
	if j.kill == nil {
		j.signal(syscall.SIGTERM)
		j.kill = time.After(j.cfg.Grace)
	}
}

// finish waits for output that is still on its way. Whoever holds a pipe open beyond the grace is a
// child that a rank left behind, and goes the way of its rank.
func (j *job) finish() {
	patience := time.NewTimer(j.cfg.Grace)
	defer patience.Stop()
	for _, p := range j.procs {
		select {
		case <-p.drained:
		case <-patience.C:
			j.signal(syscall.SIGKILL)
			patience.Reset(0)
			p.closePipes()
			<-p.drained
		}
		p.closePipes()
	}
	j.dismiss()
	close(j.release)
}

// signal sends sig to the process group of every rank of which something is left.
func (j *job) signal(sig os.Signal) {
	for _, p := range j.procs {
		if !p.gone() {
			signalGroup(p.cmd.Process, sig)
		}
	}
}
