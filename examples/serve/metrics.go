package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// metrics counts what has happened since the start.
type metrics struct {
	mu       sync.Mutex
	started  time.Time
	requests map[int]uint64 // by HTTP status
	seconds  float64        // that they took
	batches  uint64
	tokens   uint64
}

func newMetrics() *metrics { return &metrics{started: time.Now(), requests: map[int]uint64{}} }

func (m *metrics) addRequest(code int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[code]++
	m.seconds += took.Seconds()
}

func (m *metrics) addBatch(tokens int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches++
	m.tokens += uint64(tokens)
}

// write prints the counts in the text format of Prometheus. open is the number of requests under
// way.
func (m *metrics) write(w io.Writer, ready bool, open int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	up := 0
	if ready {
		up = 1
	}
	fmt.Fprintf(w, "# TYPE serve_ready gauge\nserve_ready %d\n", up)
	fmt.Fprintf(w, "# TYPE serve_requests_open gauge\nserve_requests_open %d\n", open)
	fmt.Fprintf(w, "# TYPE serve_uptime_seconds gauge\nserve_uptime_seconds %.3f\n", time.Since(m.started).Seconds())
	fmt.Fprintf(w, "# TYPE serve_batches_total counter\nserve_batches_total %d\n", m.batches)
	fmt.Fprintf(w, "# TYPE serve_tokens_total counter\nserve_tokens_total %d\n", m.tokens)
	fmt.Fprintf(w, "# TYPE serve_request_seconds_total counter\nserve_request_seconds_total %.6f\n", m.seconds)
	fmt.Fprintf(w, "# TYPE serve_requests_total counter\n")
	for _, code := range slices.Sorted(maps.Keys(m.requests)) {
		fmt.Fprintf(w, "serve_requests_total{code=\"%d\"} %d\n", code, m.requests[code])
	}
}
