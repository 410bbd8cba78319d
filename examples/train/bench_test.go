package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport/inproc"
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
	var wg sync.WaitGroup
	for _, end := range inproc.New(ranks) {
		wg.Go(func() {
			world := switchyard.NewWorld(end)
			defer func() { _ = world.Close() }()
			t, err := newTrainer(context.Background(), world, o, text)
			for n := 0; err == nil && n < b.N; n++ {
				_, err = t.step(context.Background(), n)
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*o.batch*o.seq)/b.Elapsed().Seconds(), "tokens/s")
}
