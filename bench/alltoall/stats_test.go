package alltoall

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func upTo(n int) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = time.Duration(i + 1)
	}
	return list
}

func TestPercentileIsTheNearestRank(t *testing.T) {
	for _, c := range []struct {
		n    int
		p    float64
		want time.Duration
	}{
		{1, 0.5, 1}, {1, 0.99, 1}, {2, 0.5, 1}, {3, 0.5, 2}, {5, 0.99, 5}, {20, 0.5, 10}, {20, 0.99, 20},
		{100, 0.99, 99}, {200, 0.99, 198}, {2000, 0.99, 1980}, {10, 0, 1}, {10, 1, 10},
	} {
		require.Equal(t, c.want, harness.Percentile(upTo(c.n), c.p), "%v of 1..%d", c.p, c.n)
	}
}

func TestMedian(t *testing.T) {
	values := []time.Duration{30, 10, 20}
	require.Equal(t, time.Duration(20), harness.Median(values))
	require.Equal(t, []time.Duration{30, 10, 20}, values, "the values stay as they were")
	require.Equal(t, time.Duration(15), harness.Median(values[1:]))
}

func TestSampleTakesTheSlowestRank(t *testing.T) {
	s := sampleOf([]timing{
		{wrong: 1, took: []time.Duration{5, 1, 9}},
		{wrong: 2, took: []time.Duration{4, 7, 8}},
	})
	require.Equal(t, sample{p50: 7, p99: 9, wrong: 3}, s)
}

func TestSummariseTakesMediansAndAllWrongBytes(t *testing.T) {
	require.Equal(t, sample{p50: 2, p99: 20, wrong: 7},
		summarise([]sample{{p50: 3, p99: 10, wrong: 7}, {p50: 1, p99: 30}, {p50: 2, p99: 20}}))
}

func TestBandwidths(t *testing.T) {
	algbw, busbw := bandwidths(1e6, 4, time.Millisecond)
	require.InDelta(t, 4.0, algbw, 1e-12, "4 MB in 1 ms are 4 GB/s")
	require.InDelta(t, 3.0, busbw, 1e-12, "a quarter stays at home")
}
