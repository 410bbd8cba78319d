package expert

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// minParallelWork is the number of multiplications below which starting goroutines costs more than
// it saves: about 40 µs of one core.
const minParallelWork = 1 << 21

// each calls f(g, i) for i in [0, n), on several goroutines when work, the multiplications in all
// of it, is worth it. The calls must write to disjoint memory; then the result does not depend on
// the number of workers. All goroutines have ended when it returns. Without goroutines it allocates
// nothing.
func each[G any](workers, work, n int, g G, f func(g G, i int)) {
	workers = min(workers, n)
	if workers <= 1 || work < minParallelWork {
		for i := range n {
			f(g, i)
		}
		return
	}
	parallel(workers, n, g, f)
}

func parallel[G any](workers, n int, g G, f func(g G, i int)) {
	var next atomic.Int64
	loop := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(g, i)
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(loop)
	}
	loop()
	wg.Wait()
}

// workerCount turns a configuration's Workers into a number of goroutines.
func workerCount(configured int) int {
	if configured == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return configured
}
