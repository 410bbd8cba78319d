package main

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// BenchmarkStep is one training step of the default model with a given number of ranks in one
// process.
func BenchmarkStep(b *testing.B) {
	for _, ranks := range []int{1, 4} {
		b.Run(fmt.Sprintf("ranks=%d", ranks), func(b *testing.B) { benchmarkStep(b, ranks) })
	}
}

func benchmarkStep(b *testing.B, ranks int) {
	o, err := parse(nil, io.Discard)
	require.NoError(b, err)
	text := generate(1, generatedBytes)
	switchyardtest.Run(b, ranks, func(ctx context.Context, w *switchyard.World) error {
		t, err := newTrainer(ctx, w, o, text)
		for n := 0; err == nil && n < b.N; n++ {
			_, err = t.step(ctx, n)
		}
		return err
	})
	b.ReportMetric(float64(b.N*o.batch*o.seq)/b.Elapsed().Seconds(), "tokens/s")
}
