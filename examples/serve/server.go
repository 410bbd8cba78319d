package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"gonum.org/v1/gonum/blas/blas32"
)

// server is the front: it takes requests, puts them into batches and has the ranks compute these.
type server struct {
	options
	log     *slog.Logger
	state   *state
	queue   *queue
	clients *clients
	metrics *metrics
	member  *member // set when all ranks have joined
}

func newServer(o options, log *slog.Logger) *server {
	return &server{
		options: o, log: log, state: newState(), metrics: newMetrics(),
		queue:   newQueue(o.queue, o.batchTokens, o.delay),
		clients: newClients(o),
	}
}

// admit begins a request, which leave ends, before it is read. What is admitted is answered, also
// if the server is asked to end meanwhile.
func (s *server) admit(authorization string, client netip.Addr) *refusal {
	if why := s.authorize(authorization); why != nil {
		return why
	}
	if why := s.state.refusal(); why != nil {
		return why
	}
	return s.clients.enter(client, time.Now())
}

// evaluate answers the rows of one request. Its errors are refusals.
func (s *server) evaluate(ctx context.Context, values []float32) ([]float32, error) {
	if err := s.check(values, s.maxTokens); err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.requestTimeout)
	defer cancel()
	r := &request{ctx: ctx, values: values, tokens: len(values) / s.dim, arrived: time.Now(), done: make(chan answer, 1)}
	if !s.queue.add(r) {
		return nil, refuse(http.StatusTooManyRequests, "%d requests wait already", s.options.queue).after(time.Second)
	}
	y, err := s.wait(ctx, r)
	if err == nil && s.checkFinite(y) != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "the answer is not finite: %v", s.checkFinite(y))
	}
	return y, err
}

// clientLeft stands in logs for a client that did not wait; nobody receives it. (nginx.)
const clientLeft = 499

// wait returns the answer to r, or why there is none.
func (s *server) wait(ctx context.Context, r *request) ([]float32, error) {
	select {
	case a := <-r.done:
		return a.values, a.err
	case <-ctx.Done():
	case <-s.state.failed:
	}
	select {
	case a := <-r.done: // both have happened
		return a.values, a.err
	default:
	}
	if why := s.state.refusal(); s.state.failure() != nil {
		return nil, why
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, refuse(http.StatusGatewayTimeout, "no answer within %v", s.requestTimeout).after(time.Second)
	}
	return nil, refuse(clientLeft, "the client has left")
}

// serveBatches has the ranks compute batch after batch until the queue is closed and empty or a
// pass fails.
func (s *server) serveBatches(ctx context.Context) {
	places := make(chan []float32, s.inFlight) // the memory of batches
	for range s.inFlight {
		places <- make([]float32, s.batchTokens*s.dim)
	}
	var passes sync.WaitGroup
	defer passes.Wait()
	for s.state.failure() == nil {
		place := <-places
		batch := s.queue.batch()
		if batch == nil {
			return
		}
		passes.Go(func() {
			s.answer(ctx, batch, place)
			places <- place
		})
	}
}

// answer computes one batch in the memory of a place. If the ranks refuse it, because of a token
// that cannot be routed, each of its requests is computed alone, so that one request cannot keep
// the others from their answers.
func (s *server) answer(ctx context.Context, batch []*request, place []float32) {
	values := place[:0]
	for _, r := range batch {
		values = append(values, r.values...)
	}
	y, err := s.pass(ctx, values)
	if err != nil && refused(err) && len(batch) > 1 {
		for _, r := range batch {
			s.answer(ctx, []*request{r}, place)
		}
		return
	}
	for _, r := range batch {
		n := len(r.values)
		if err != nil {
			r.done <- answer{err: s.reason(err)}
			continue
		}
		r.done <- answer{values: y[:n:n]}
		y = y[n:]
	}
}

// reason is what clients are told of the error of a pass.
func (s *server) reason(err error) error {
	if refused(err) {
		return refuse(http.StatusUnprocessableEntity, "the layer refuses the tokens: %v", err)
	}
	return s.state.refusal()
}

// pass computes the answer to rows of tokens. An error that is no refusal ends the job.
func (s *server) pass(ctx context.Context, values []float32) ([]float32, error) {
	ctx, cancel := context.WithTimeout(ctx, s.passTimeout)
	defer cancel()
	x := blas32.General{Rows: len(values) / s.dim, Cols: s.dim, Stride: s.dim, Data: values}
	y := make([]float32, len(values))
	err := s.member.lead(ctx, y, x)
	if err != nil && !refused(err) {
		s.state.fail(err)
	}
	s.metrics.addBatch(x.Rows)
	return y, err
}
