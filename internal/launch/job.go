package launch

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

// job is all ranks of one try.
type job struct {
	cfg   Config
	try   try
	out   *lines
	procs []*process
	// ended gets each rank as its process ends, in that order.
	ended chan *process
	// release ends the thread that started the ranks.
	release chan struct{}
	// dismiss ends the guard.
	dismiss func()

	// first is the first failure.
	first *ExitError
	// stops counts the forwarded signals that ask the ranks to stop.
	stops int
	// kill fires when the grace of ranks that were asked to end is over; it is nil until then.
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

// startOnOwnThread keeps the thread that starts the ranks alive as long as they live: for the
// system, the end of that thread, not only of the process, is the death of the ranks' parent.
func (j *job) startOnOwnThread(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for rank := range j.cfg.Ranks {
		p, err := j.startProcess(rank)
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
	_ = p.cmd.Wait() // ProcessState says more
	close(p.exited)
	j.ended <- p
}

// wait waits for the end of the job.
func (j *job) wait(ctx context.Context) error {
	var cause error
	done := ctx.Done()
	for left := len(j.procs); left > 0; {
		select {
		case p := <-j.ended:
			left--
			j.noteExit(p)
			j.endTheRest()
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

// noteExit ends the job if p has failed, since the others would wait for it.
func (j *job) noteExit(p *process) {
	failure := failureOf(p.rank, p.cmd.ProcessState)
	if failure == nil || j.cfg.MayFail(p.rank) {
		return
	}
	if j.first == nil {
		j.first = failure
	}
	j.end()
}

// endTheRest kills the ranks that may fail when no other is left: one may have been stopped.
func (j *job) endTheRest() {
	var rest []*process
	for _, p := range j.procs {
		if isClosed(p.exited) {
			continue
		}
		if !j.cfg.MayFail(p.rank) {
			return
		}
		rest = append(rest, p)
	}
	for _, p := range rest {
		signalGroup(p.cmd.Process, syscall.SIGKILL)
	}
}

// forward sends sig to the ranks. After the first request to stop they may take any time; a second
// one starts the grace.
func (j *job) forward(sig os.Signal) {
	j.signal(sig)
	if !isStop(sig) {
		return
	}
	if j.stops++; j.stops > 1 {
		j.end()
	}
}

// end asks all ranks to end, and starts the grace after which they are killed.
func (j *job) end() {
	if j.kill == nil {
		j.signal(syscall.SIGTERM)
		j.kill = time.After(j.cfg.Grace)
	}
}

// finish waits for the rest of the output. A process that holds a pipe open beyond the grace is a
// child that a rank left behind, and is killed.
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

// signal sends sig to the process group of every rank that has a process left.
func (j *job) signal(sig os.Signal) {
	for _, p := range j.procs {
		if !p.gone() {
			signalGroup(p.cmd.Process, sig)
		}
	}
}
