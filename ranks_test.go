package switchyard

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// onRanks runs do on every rank of worlds, and closes each world when its rank is done.
func onRanks(worlds []*World, do func(w *World) error) []error {
	return atOnce(worlds, func(w *World) error {
		err := do(w)
		if closing := w.Close(); err == nil {
			err = closing
		}
		return err
	})
}

// atOnce runs do for every rank, and leaves the worlds open where none fails.
func atOnce(worlds []*World, do func(w *World) error) []error {
	errs := make([]error, len(worlds))
	var wg sync.WaitGroup
	for r, w := range worlds {
		wg.Go(func() {
			if errs[r] = do(w); errs[r] != nil {
				_ = w.Close() // the others would wait for it
			}
		})
	}
	wg.Wait()
	return errs
}

func inprocWorlds(n int) []*World {
	worlds := make([]*World, n)
	for r, tr := range inproc.New(n) {
		worlds[r] = NewWorld(tr)
	}
	return worlds
}

// result is what two training steps of a layer leave, over all ranks.
type result struct {
	y, dx      []float32 // of the second step
	gradients  []Tensor
	parameters []Tensor
	dropped    int
}

// trainTwice runs two steps on the global batch x, dy, cut after the given tokens into a piece for
// each rank.
func trainTwice(t *testing.T, worlds []*World, cfg Config, x, dy blas32.General, cuts []int) result {
	t.Helper()
	return trainTwiceWith(t, worlds, cfg, x, dy, router.Batch{}, cuts)
}

// trainTwiceWith is trainTwice with something to say of the tokens of the global batch.
func trainTwiceWith(t *testing.T, worlds []*World, cfg Config, x, dy blas32.General, side router.Batch, cuts []int) result {
	t.Helper()
	return trainOn(t, onRanks, worlds, cfg, x, dy, side, cuts)
}

// trainOn is trainTwiceWith by onRanks, or by atOnce for worlds that are used again.
func trainOn(t *testing.T, run func([]*World, func(*World) error) []error, worlds []*World, cfg Config, x, dy blas32.General, side router.Batch, cuts []int) result {
	t.Helper()
	return trainBy(t, run, worlds, x, dy, side, cuts, func(*World) (Config, func() error) { return cfg, func() error { return nil } })
}

// trainEach is trainTwice with a configuration for each rank, and something to check there after
// it.
func trainEach(t *testing.T, worlds []*World, x, dy blas32.General, cuts []int, config func(*World) (Config, func() error)) result {
	t.Helper()
	return trainBy(t, onRanks, worlds, x, dy, router.Batch{}, cuts, config)
}

func trainBy(t *testing.T, run func([]*World, func(*World) error) []error, worlds []*World, x, dy blas32.General, side router.Batch, cuts []int,
	config func(*World) (Config, func() error)) result {
	t.Helper()
	require.Len(t, cuts, len(worlds))
	res := result{y: make([]float32, len(x.Data)), dx: make([]float32, len(x.Data))}
	var mu sync.Mutex
	for r, err := range run(worlds, func(w *World) error {
		begin := 0
		if w.Rank() > 0 {
			begin = cuts[w.Rank()-1]
		}
		end := cuts[w.Rank()]
		cfg, check := config(w)
		err := trainRank(w, cfg, part(x, begin, end), part(dy, begin, end), sidePart(side, begin, end), func(y, dx blas32.General, g, p []Tensor, dropped int) {
			mu.Lock()
			defer mu.Unlock()
			copy(res.y[begin*x.Cols:], y.Data)
			copy(res.dx[begin*x.Cols:], dx.Data)
			res.dropped += dropped
			if w.Rank() == 0 {
				res.gradients, res.parameters = g, p
			}
		})
		if err != nil {
			return err
		}
		return check()
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	return res
}

// sidePart is what side says of the tokens begin to end.
func sidePart(side router.Batch, begin, end int) router.Batch {
	if side.Padding != nil {
		side.Padding = side.Padding[begin:end]
	}
	if side.Modality != nil {
		side.Modality = side.Modality[begin:end]
	}
	return side
}

func trainRank(w *World, cfg Config, x, dy blas32.General, side router.Batch, done func(y, dx blas32.General, g, p []Tensor, dropped int)) error {
	ctx := context.Background()
	layer, err := NewLayer(w, cfg)
	if err != nil {
		return err
	}
	optimizer := expert.NewAdam(0.01)
	for step := 0; ; step++ {
		y, err := layer.ForwardBatch(ctx, x, side)
		if err != nil {
			return err
		}
		dx, err := layer.Backward(ctx, dy)
		if err != nil {
			return err
		}
		g, err := layer.Gradients(ctx)
		if err != nil {
			return err
		}
		if err := layer.Step(ctx, optimizer); err != nil {
			return err
		}
		if step == 0 {
			continue
		}
		p, err := layer.Parameters(ctx)
		if err == nil {
			done(y, dx, g, p, layer.Stats().Dropped)
		}
		return err
	}
}

// part is the rows begin to end of m.
func part(m blas32.General, begin, end int) blas32.General {
	return blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Stride, Data: m.Data[begin*m.Stride : end*m.Stride]}
}

func culprits(errs []error) []transport.Rank {
	list := make([]transport.Rank, len(errs))
	for i, err := range errs {
		list[i] = transport.CulpritOf(err)
	}
	return list
}
