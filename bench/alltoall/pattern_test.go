package alltoall

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/payload"
)

func TestPatternIsFoundRight(t *testing.T) {
	all := make([]byte, payload.Length(200))
	payload.Fill(all, 3)
	for _, position := range []int{0, 1, 7, 8, 63} {
		for _, length := range []int{1, 2, 7, 8, 9, 65, 130} {
			block := all[position:][:length]
			require.Zero(t, payload.Check(block, 3, position))
			require.Zero(t, payload.Probe(block, 3, position))
		}
	}
}

func TestEveryWrongByteIsCounted(t *testing.T) {
	all := make([]byte, payload.Length(100))
	payload.Fill(all, 0)
	block := all[5:100]
	for i := range block {
		block[i] ^= 0xff
		require.Equal(t, 1, payload.Check(block, 0, 5), "byte %d", i)
		block[i] ^= 0xff
	}
	block[0]++
	block[len(block)-1]++
	require.Equal(t, 2, payload.Probe(block, 0, 5), "the ends of a block are always looked at")
}

func TestOtherIterationsRanksAndPlacesHaveOtherBytes(t *testing.T) {
	const bytes, ranks = 64, 8
	for i := range 8 {
		for to := range ranks {
			block := make([]byte, payload.Length(bytes*ranks))
			payload.Fill(block, 1)
			block = block[payload.Offset(i)+to*bytes:][:bytes]
			require.Zero(t, payload.Check(block, 1, payload.Offset(i)+to*bytes))
			require.NotZero(t, payload.Probe(block, 1, payload.Offset(i+1)+to*bytes), "stale")
			require.NotZero(t, payload.Probe(block, 1, payload.Offset(i)+(to+1)*bytes), "meant for another")
			require.NotZero(t, payload.Probe(block, 2, payload.Offset(i)+to*bytes), "from another")
		}
	}
}

// TestMeasureNoticesFaults has a lone rank exchange with itself, once right and then in ways that
// are wrong.
func TestMeasureNoticesFaults(t *testing.T) {
	steps := []step{{bytes: 1000, warmup: 1, iterations: 3}}
	calls := 0
	for name, c := range map[string]struct {
		exchange exchange
		wrong    bool
	}{
		"right":          {func(_ context.Context, send, recv []byte) error { copy(recv, send); return nil }, false},
		"nothing":        {func(context.Context, []byte, []byte) error { return nil }, true},
		"one byte short": {func(_ context.Context, send, recv []byte) error { copy(recv, send[:999]); return nil }, true},
		"shifted":        {func(_ context.Context, send, recv []byte) error { copy(recv, send[1:]); return nil }, true},
		"stops changing": {func(_ context.Context, send, recv []byte) error {
			if calls++; calls < 3 {
				copy(recv, send)
			}
			return nil
		}, true},
	} {
		timings, err := newRank(0, 1, steps, func(n int) []byte { return make([]byte, n) }).measure(context.Background(), steps, c.exchange)
		require.NoError(t, err)
		require.Equal(t, c.wrong, timings[0].wrong > 0, name)
		require.Len(t, timings[0].took, 3)
	}
}
