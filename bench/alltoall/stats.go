package alltoall

import (
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// sample is what one turn says about one size.
type sample struct {
	p50, p99 time.Duration
	wrong    int
}

// sampleOf takes the slowest rank's time of each iteration for the time of the exchange, as the
// exchange is over when it is over for everybody, and the percentiles over iterations.
func sampleOf(ranks []timing) sample {
	slowest := slices.Clone(ranks[0].took)
	s := sample{}
	for _, t := range ranks {
		s.wrong += t.wrong
		for i, d := range t.took {
			slowest[i] = max(slowest[i], d)
		}
	}
	slices.Sort(slowest)
	s.p50, s.p99 = harness.Percentile(slowest, 0.50), harness.Percentile(slowest, 0.99)
	return s
}

// summarise makes one sample of those of all rounds: the median of each percentile, and all wrong
// bytes.
func summarise(rounds []sample) sample {
	p50, p99 := make([]time.Duration, len(rounds)), make([]time.Duration, len(rounds))
	var s sample
	for i, r := range rounds {
		p50[i], p99[i] = r.p50, r.p99
		s.wrong += r.wrong
	}
	s.p50, s.p99 = harness.Median(p50), harness.Median(p99)
	return s
}

// bandwidths returns, in GB/s, algbw, the bytes in a rank's send buffer over the time, and busbw,
// the part of it that goes to other ranks and hence through a rank's link.
func bandwidths(bytesPerPeer, ranks int, took time.Duration) (algbw, busbw float64) {
	// Bytes per nanosecond are GB per second.
	algbw = float64(bytesPerPeer*ranks) / float64(max(took, 1))
	return algbw, algbw * float64(ranks-1) / float64(ranks)
}
