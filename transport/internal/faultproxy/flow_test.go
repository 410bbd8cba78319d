package faultproxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDelaysAreOfTheSeed(t *testing.T) {
	draw := func(seed uint64) (delays []time.Duration) {
		f := newFlow(seed)
		f.Delay(10*time.Millisecond, 5*time.Millisecond)
		for range 100 {
			d := f.late()
			require.GreaterOrEqual(t, d, 10*time.Millisecond)
			require.LessOrEqual(t, d, 15*time.Millisecond)
			delays = append(delays, d)
		}
		return delays
	}
	first := draw(1)
	require.Equal(t, first, draw(1))
	require.NotEqual(t, first, draw(2))
	require.NotEqual(t, first[0], first[1])
}
