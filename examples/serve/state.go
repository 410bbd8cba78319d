package main

import "sync"

// state is whether the front answers requests, and why not.
type state struct {
	mu     sync.Mutex
	why    *refusal
	err    error
	failed chan struct{} // closed when the job has failed
}

func newState() *state {
	return &state{why: unavailable("starting: not all ranks have joined"), failed: make(chan struct{})}
}

// refusal is why a request is not answered now, or nil.
func (s *state) refusal() *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// set changes it, unless the job has failed. nil has requests answered.
func (s *state) set(why *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.why = why
	}
}

// fail ends the job. The first error counts: it names the rank.
func (s *state) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err, s.why = err, unavailable("the job has failed: %v", err)
	close(s.failed)
}

// failure is the error that has ended the job, or nil.
func (s *state) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
