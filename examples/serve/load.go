package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// The requests of a load test.
const (
	questions      = 64
	questionTokens = 8
)

// runLoad asks a server from many clients at once and checks every answer. Without -url it starts
// the server too, and with -kill it kills one of the ranks after a third of the time.
func (o *options) runLoad(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	list, err := o.newQuestions(ctx, questions, min(questionTokens, o.maxTokens))
	if err != nil {
		return err
	}
	t := newTally()
	if o.url != "" {
		o.load(ctx, newLoadClient(o, o.url), list, t)
		return t.report(stdout, o.loadClients, false)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pids := &pidWatch{to: stderr, pids: map[int]int{}}
	var job sync.WaitGroup
	var ended error
	job.Go(func() {
		ended = o.startRanks(ctx, args, io.Discard, pids, t.restarted)
		cancel()
	})
	client := newLoadClient(o, "http://"+o.http)
	if err := client.awaitReady(ctx); err != nil {
		cancel()
		job.Wait()
		return fmt.Errorf("%w: %w", err, ended)
	}
	*t = *newTally() // the start is over
	if o.killRank >= 0 {
		killer := time.AfterFunc(o.loadTime/3, func() { pids.kill(o.killRank) })
		defer killer.Stop()
	}
	o.load(ctx, client, list, t)
	err = t.report(stdout, o.loadClients, o.killRank >= 0)
	cancel()
	job.Wait()
	return err
}

// load runs the clients for the time of -load.
func (o *options) load(ctx context.Context, client *loadClient, list []question, t *tally) {
	ctx, cancel := context.WithTimeout(ctx, o.loadTime)
	defer cancel()
	var clients sync.WaitGroup
	for i := range o.loadClients {
		clients.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				client.ask(ctx, list[n%len(list)], t)
			}
		})
	}
	clients.Wait()
	client.close()
}

// pidWatch passes on what the ranks log, and learns the processes' numbers from it.
type pidWatch struct {
	to   io.Writer
	mu   sync.Mutex
	pids map[int]int
}

var joinedLine = regexp.MustCompile(`msg=joined rank=(\d+) .*pid=(\d+)`)

// Write gets a whole line.
func (p *pidWatch) Write(line []byte) (int, error) {
	if m := joinedLine.FindSubmatch(line); m != nil {
		rank, _ := strconv.Atoi(string(m[1])) // digits
		pid, _ := strconv.Atoi(string(m[2]))
		p.mu.Lock()
		p.pids[rank] = pid
		p.mu.Unlock()
	}
	return p.to.Write(line)
}

// pid is the number of a rank's process, 0 until it has joined.
func (p *pidWatch) pid(rank int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pids[rank]
}

// kill kills a rank as the system does when memory is short.
func (p *pidWatch) kill(rank int) {
	if process, err := os.FindProcess(p.pid(rank)); err == nil {
		_ = process.Kill() // one that has ended already fails the test by itself
	}
}
