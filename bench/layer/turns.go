package layer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
)

// comparison is that of one transport and one route.
type comparison struct {
	options           options
	ranks             []*workload.Rank
	copiers           []*copier
	start             []chan func(rank int) error // a goroutine for each rank waits for what to do
	done              chan error
	forward, backward []time.Duration // of each iteration
	often, seldom     []time.Duration
	wrong             [2]int // forward, backward
	allocated         [2]int
}

// measure runs one case and returns its outcome: forward and backward.
func (o options) measure(ctx context.Context, transport, route string) (rows []row, err error) {
	ends, err := meshes()[transport](ctx, o.ranks)
	if err != nil {
		return nil, err
	}
	c := &comparison{options: o, ranks: make([]*workload.Rank, o.ranks), done: make(chan error)}
	var wg sync.WaitGroup
	defer func() {
		for r, t := range ends {
			close(c.start[r])
			err = errors.Join(err, t.Close())
		}
		wg.Wait()
	}()
	for range ends {
		start := make(chan func(int) error)
		r := len(c.start)
		c.start = append(c.start, start)
		wg.Go(func() {
			for do := range start {
				err := do(r)
				if err != nil {
					_ = ends[r].Close() // so that the others do not wait for it; its own error says more
				}
				c.done <- err
			}
		})
	}
	if _, err := c.all(func(r int) (err error) { c.ranks[r], err = workload.NewRank(ends[r], o.Shape, route); return err }); err != nil {
		return nil, err
	}
	c.copiers = newCopiers(o, c.ranks)
	for round := range o.rounds {
		if err := c.round(ctx, round); err != nil {
			if len(c.forward)*len(c.often)*len(c.seldom) == 0 {
				return nil, err
			}
			return c.rows(transport, route), err // of the rounds before
		}
	}
	return c.rows(transport, route), nil
}

// all runs do on every rank's goroutine and returns how long it took until the last was done.
func (c *comparison) all(do func(rank int) error) (time.Duration, error) {
	start := time.Now()
	for _, s := range c.start {
		s <- do
	}
	var first error
	for range c.start {
		if err := <-c.done; first == nil {
			first = err
		}
	}
	return time.Since(start), first
}

// round lets every contestant take its turn; nobody is always the first.
func (c *comparison) round(ctx context.Context, round int) error {
	turns := []func(context.Context) error{
		c.layerTurn,
		func(ctx context.Context) error { return c.copyTurn(ctx, &c.often, (*copier).often) },
		func(ctx context.Context) error { return c.copyTurn(ctx, &c.seldom, (*copier).seldom) },
	}
	for i := range turns {
		if err := turns[(i+round)%len(turns)](ctx); err != nil {
			return err
		}
	}
	return nil
}

// layerTurn times the layer: both passes of each iteration, each by itself.
func (c *comparison) layerTurn(ctx context.Context) error {
	if err := c.verify(ctx, 0); err != nil {
		return err
	}
	n := c.options.timed()
	warm := warmup(n)
	for i := range warm + n {
		if i == warm {
			if err := c.countAllocations(ctx, i); err != nil {
				return err
			}
		}
		forward, backward, err := c.iteration(ctx, i)
		if err != nil {
			return err
		}
		if i >= warm {
			c.forward, c.backward = append(c.forward, forward), append(c.backward, backward)
		}
		c.check(i, false)
	}
	return c.verify(ctx, warm+n)
}

// warmup is the number of untimed iterations before n timed ones.
func warmup(n int) int { return min(max(n/10, 2), 100) }

// iteration runs both passes, and times each by itself.
func (c *comparison) iteration(ctx context.Context, i int) (forward, backward time.Duration, err error) {
	if forward, err = c.all(func(r int) error { return c.ranks[r].Forward(ctx, i) }); err != nil {
		return 0, 0, fmt.Errorf("forward: %w", err)
	}
	if backward, err = c.all(func(r int) error { return c.ranks[r].Backward(ctx, i) }); err != nil {
		return 0, 0, fmt.Errorf("backward: %w", err)
	}
	return forward, backward, nil
}

// countAllocations runs an untimed iteration and notes how much each pass allocates, if it is less
// than before: the runtime makes some allocations of its own at times.
func (c *comparison) countAllocations(ctx context.Context, i int) error {
	for pass, do := range []func(*workload.Rank, context.Context, int) error{(*workload.Rank).Forward, (*workload.Rank).Backward} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := c.all(func(r int) error { return do(c.ranks[r], ctx, i) }); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		if n := int(after.Mallocs - before.Mallocs); len(c.forward) == 0 || n < c.allocated[pass] {
			c.allocated[pass] = n
		}
	}
	return nil
}

// verify runs an untimed iteration with experts whose answers tell them apart, and checks every
// element.
func (c *comparison) verify(ctx context.Context, i int) error {
	number := func(on bool) {
		for _, r := range c.ranks {
			r.Experts.Numbered = on
		}
	}
	number(true)
	defer number(false)
	if _, _, err := c.iteration(ctx, i); err != nil {
		return err
	}
	c.check(i, true)
	return nil
}

func (c *comparison) check(i int, all bool) {
	for _, r := range c.ranks {
		forward, backward := r.Wrong(i, all)
		c.wrong[0] += forward
		c.wrong[1] += backward
	}
}

// copyTurn times one kind of copying.
func (c *comparison) copyTurn(ctx context.Context, took *[]time.Duration, do func(*copier)) error {
	n := c.options.timed()
	warm := warmup(n)
	for i := range warm + n {
		d, err := c.all(func(r int) error { do(c.copiers[r]); return context.Cause(ctx) })
		if err != nil {
			return err
		}
		if i >= warm {
			*took = append(*took, d)
		}
	}
	for r, one := range c.copiers {
		if wrong := one.wrong(); wrong > 0 {
			return fmt.Errorf("copier %d left %d elements wrong", r, wrong)
		}
	}
	return nil
}

// rows makes the outcome.
func (c *comparison) rows(transport, route string) []row {
	rows := make([]row, 2)
	for i, pass := range []string{"forward", "backward"} {
		took := [2][]time.Duration{c.forward, c.backward}[i]
		rows[i] = c.options.row(transport, route, pass, harness.Median(took), harness.Median(c.often), harness.Median(c.seldom))
		rows[i].Wrong, rows[i].Allocs = c.wrong[i], c.allocated[i]
	}
	return rows
}
