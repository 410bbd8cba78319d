package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"
)

// request is what a client wants to know.
type request struct {
	ctx     context.Context // of the client: one that has left needs no answer
	values  []float32       // rows of tokens
	tokens  int
	arrived time.Time
	done    chan answer // has room for it, so that nobody waits for a client that has left
}

// answer is a row for each token, or why there is none.
type answer struct {
	values []float32
	err    error
}

// refusal is why a request is not answered.
type refusal struct {
	code   int // of HTTP
	reason string
	retry  time.Duration // when it may be worth to try again; 0 says nothing
}

func (r *refusal) Error() string { return r.reason }

func refuse(code int, format string, args ...any) *refusal {
	return &refusal{code: code, reason: fmt.Sprintf(format, args...)}
}

// after says when to try again.
func (r *refusal) after(d time.Duration) *refusal {
	r.retry = d
	return r
}

// seconds is when to try again, in whole seconds.
func (r *refusal) seconds() int { return int(math.Ceil(r.retry.Seconds())) }

// unavailable is a refusal of a job that cannot answer now; another one, or the same after its
// restart, may.
func unavailable(format string, args ...any) *refusal {
	return refuse(http.StatusServiceUnavailable, format, args...).after(time.Second)
}
