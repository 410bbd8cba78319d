package route

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/router"
)

// our routes with this library.
type our struct{ dim int }

func (our) name() string    { return harness.Name }
func (our) version() string { return harness.Version() }
func (our) Close() error    { return nil }

// turn is described at [routeContestant]. The decision's memory goes back to the gate after each
// call, outside the time but within the count of allocations.
func (r our) turn(file string, tokens, experts, k, iterations int) (turn, error) {
	logits, err := readLogits(file, tokens, experts)
	if err != nil {
		return turn{}, err
	}
	g, err := router.TopK{K: k, Score: router.SoftmaxBefore}.New(router.Shape{Dim: r.dim, Experts: experts})
	if err != nil {
		return turn{}, err
	}
	gate, ok := g.(router.LogitRouter)
	if !ok {
		return turn{}, fmt.Errorf("%T takes no logits", g)
	}
	t := turn{took: make([]time.Duration, iterations)}
	batch := router.Batch{Ends: []int{tokens}, Train: true}
	var before, after runtime.MemStats
	for i := -max(iterations/10, 2); i < iterations; i++ {
		if i == 0 {
			runtime.ReadMemStats(&before)
		}
		start := time.Now()
		d, err := gate.RouteLogits(logits, batch)
		took := time.Since(start)
		if err != nil {
			return t, err
		}
		if i >= 0 {
			t.took[i] = took
		} else {
			t.counts = slices.Clone(d.Counts)
		}
		gate.Release(d)
	}
	runtime.ReadMemStats(&after)
	t.allocs = int(after.Mallocs - before.Mallocs)
	return t, nil
}

func readLogits(file string, tokens, experts int) (blas32.General, error) {
	data, err := os.ReadFile(file)
	if err == nil && len(data) != 4*tokens*experts {
		err = fmt.Errorf("%s: %d bytes for %d × %d logits", file, len(data), tokens, experts)
	}
	m := blas32.General{Rows: tokens, Cols: experts, Stride: experts, Data: make([]float32, len(data)/4)}
	for i := range m.Data {
		m.Data[i] = math.Float32frombits(binary.NativeEndian.Uint32(data[4*i:]))
	}
	return m, err
}
