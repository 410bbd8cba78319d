package switchyard

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// BenchmarkPasses takes steps of two batches on two ranks: one after the other, and both in flight
// on goroutines of their own. live-MB is what is in use after a step.
func BenchmarkPasses(b *testing.B) {
	for name, step := range map[string]func(*Layer, [2]blas32.General) error{
		"one-after-another": oneAfterAnother, "in-flight": bothInFlight,
	} {
		b.Run(name, func(b *testing.B) {
			worlds := inprocWorlds(2)
			before := liveBytes()
			layers, x := make([]*Layer, len(worlds)), make([][2]blas32.General, len(worlds))
			each := func(do func(r int) error) {
				for _, err := range atOnce(worlds, func(w *World) error { return do(int(w.Rank())) }) {
					require.NoError(b, err)
				}
			}
			each(func(r int) (err error) {
				random := rand.New(rand.NewPCG(uint64(r), 1))
				x[r] = [2]blas32.General{randomMatrix(random, 1024, 256), randomMatrix(random, 1024, 256)}
				layers[r], err = NewLayer(worlds[r], Config{
					Dim: 256, Experts: 8, Group: 128, MicroBatches: 2,
					Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 512},
				})
				return err
			})
			steps := func(n int) {
				sgd := expert.NewSGD(1e-6)
				each(func(r int) (err error) {
					for range n {
						err = errors.Join(err, step(layers[r], x[r]), layers[r].Step(context.Background(), sgd))
					}
					return err
				})
			}
			steps(3)
			for b.Loop() {
				steps(1)
			}
			b.ReportMetric(float64(liveBytes()-before)/1e6, "live-MB")
			runtime.KeepAlive(layers)
			each(func(r int) error { return worlds[r].Close() })
		})
	}
}

func oneAfterAnother(l *Layer, x [2]blas32.General) (err error) {
	for _, x := range x {
		_, forward := l.Forward(context.Background(), x)
		_, backward := l.Backward(context.Background(), x)
		err = errors.Join(err, forward, backward)
	}
	return err
}

func bothInFlight(l *Layer, x [2]blas32.General) error {
	done := make(chan error, len(x))
	for _, x := range x {
		p, err := l.NewPass()
		if err != nil {
			return err
		}
		go func() {
			_, forward := p.Forward(context.Background(), x, router.Batch{})
			_, backward := p.Backward(context.Background(), x)
			done <- errors.Join(forward, backward, p.Release())
		}()
	}
	return errors.Join(<-done, <-done)
}

// liveBytes is the bytes of the heap that are in use.
func liveBytes() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
