package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// runFront is rank 0: it listens, joins, and answers until it is asked to end or the job fails.
func runFront(ctx context.Context, o options, asked <-chan struct{}, stdout io.Writer, log *slog.Logger) error {
	s := newServer(o, log)
	l, err := s.listen()
	if err != nil {
		return err
	}
	defer l.stop(0)
	m, err := join(ctx, o, asked, log)
	if err != nil {
		if isAsked(asked) {
			return nil
		}
		return err
	}
	s.member = m
	err = s.lead(ctx, asked, l, stdout)
	if closed := m.world.Close(); err == nil {
		err = closed
	}
	log.Info("ended", "rank", front, "passes", m.passes, "err", err)
	return err
}

// welcome says where the server is, with a line to try.
func (s *server) welcome(l *listeners) string {
	var b strings.Builder
	fmt.Fprintf(&b, "serving %d ranks on http://%v", s.member.world.Size(), l.httpAddr)
	if l.grpcAddr != nil {
		fmt.Fprintf(&b, " and, with gRPC, on %v", l.grpcAddr)
	}
	header := ""
	if s.tokenFile != "" {
		header = fmt.Sprintf(" -H \"Authorization: Bearer $(cat %s)\"", s.tokenFile)
	}
	token := strings.TrimSuffix(strings.Repeat("1,", s.dim), ",")
	fmt.Fprintf(&b, "; try\n  curl%s -d '{\"tokens\":[[%s]]}' http://%v%s\n", header, token, l.httpAddr, evalPath)
	return b.String()
}

// lead answers requests until one of the ranks is asked to end, and then those that are there.
func (s *server) lead(ctx context.Context, asked <-chan struct{}, l *listeners, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends, watched := s.watch(ctx)
	var batches sync.WaitGroup
	batches.Go(func() { s.serveBatches(ctx) })
	s.state.set(nil)
	s.log.Info("ready", "rank", front)
	fmt.Fprint(stdout, s.welcome(l))
	select {
	case <-asked:
	case <-ends:
	case <-ctx.Done():
	case <-s.state.failed:
	}
	s.drain(l)
	if s.state.failure() != nil {
		cancel()
	}
	s.queue.close()
	batches.Wait()
	watched() // before the others leave
	if err := s.state.failure(); err != nil {
		return err
	}
	if err := s.member.orders.give(ctx, order{}); err != nil {
		return err
	}
	return s.member.farewell(ctx, s.drainTimeout)
}

// lastWords is the time to write the answer "the job has failed".
const lastWords = 2 * time.Second

// drain stops accepting requests and waits until those that are there are answered.
func (s *server) drain(l *listeners) {
	if err := s.state.failure(); err != nil {
		s.log.Error("failed", "rank", front, "err", err)
		l.stop(lastWords)
		return
	}
	s.state.set(unavailable("draining: the server is asked to end"))
	s.log.Info("draining", "rank", front)
	l.stop(s.drainTimeout)
}

// watch waits for the other ranks to be asked to end, which closes ends, or to die, which fails the
// job also while no request is there. stop ends it.
func (s *server) watch(ctx context.Context) (ends <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	all := make(chan struct{})
	end := sync.OnceFunc(func() { close(all) })
	var ranks sync.WaitGroup
	for _, r := range s.member.others() {
		ranks.Go(func() {
			if err := s.member.orders.askedToEnd(ctx, r); err == nil {
				end()
			} else if ctx.Err() == nil {
				s.state.fail(err)
			}
		})
	}
	return all, func() {
		cancel()
		ranks.Wait()
	}
}
