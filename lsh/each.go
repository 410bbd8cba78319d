package lsh

import (
	"sync"
	"sync/atomic"
)

// minParallelRows is the number of rows below which goroutines cost more than they save: some tens
// of µs of work.
const minParallelRows = 64

// each calls f for every row group, on as many goroutines as there are workers. All have ended when
// it returns.
func (c *Compressor) each(p *Pass, f func(w *worker, p *Pass, g int)) {
	if len(c.workers) == 1 || p.x.Rows < minParallelRows {
		for g := range c.groups {
			f(c.workers[0], p, g)
		}
		return
	}
	c.parallel(p, f)
}

func (c *Compressor) parallel(p *Pass, f func(w *worker, p *Pass, g int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	loop := func(w *worker) {
		for g := int(next.Add(1)) - 1; g < c.groups; g = int(next.Add(1)) - 1 {
			f(w, p, g)
		}
	}
	for _, w := range c.workers[1:] {
		wg.Go(func() { loop(w) })
	}
	loop(c.workers[0])
	wg.Wait()
}
