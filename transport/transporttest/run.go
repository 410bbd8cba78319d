// Package transporttest is the conformance suite of [transport.Transport]: the promises of its
// comment, as tests and benchmarks that every implementation calls.
//
// The suite may miss faults, but it never fails a transport that keeps the contract: it depends
// neither on buffering nor on timing, and its limits are wide enough for a loaded machine. It finds
// the most with the race detector. A test with random numbers logs its seed; SWITCHYARD_SEED=N in
// the environment repeats it with that seed.
package transporttest

import (
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
)

// claim is one sentence of the contract and the test of it.
type claim struct {
	name  string
	says  string // printed when the test fails
	ranks int
	test  func(j *job)
}

// Run tests that the transports which open returns keep the contract of [transport.Transport], each
// sentence of it as a subtest. open opens a job of n ranks, n from 1 to 8, and returns its ends in
// the order of their ranks; the suite closes them.
//
// The operations of the transports must be allowed at least 20 seconds, and those of a healthy job
// must not need more.
func Run(t *testing.T, open func(t *testing.T, n int) []transport.Transport) {
	groups := []struct {
		name   string
		claims []claim
	}{
		{"Matching", matchingClaims},
		{"Buffers", bufferClaims},
		{"Concurrency", concurrencyClaims},
		{"Exchange", exchangeClaims},
		{"Time", timeClaims},
		{"Errors", errorClaims},
		{"Close", closeClaims},
		{"Abilities", abilityClaims},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) { runClaims(t, open, g.claims) })
	}
}

func runClaims(t *testing.T, open func(t *testing.T, n int) []transport.Transport, claims []claim) {
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the claim: %s", c.says)
				}
			})
			c.test(newJob(t, open(t, c.ranks)))
		})
	}
}
