package modelcheck

import (
	"context"
	"errors"
	"slices"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// result is what a layer computes over all ranks.
type result struct {
	y, dx     []float32
	gradients []switchyard.Tensor
}

// run runs one pass of a layer on n ranks of this process, among which the tokens are spread.
func run(ctx context.Context, n int, cfg switchyard.Config, x, dy blas32.General) (result, error) {
	parts, errs := make([]result, n), make([]error, n)
	var all sync.WaitGroup
	for r, tr := range inproc.New(n) {
		begin, end := x.Rows*r/n, x.Rows*(r+1)/n
		all.Go(func() {
			parts[r], errs[r] = onRank(ctx, tr, cfg, part(x, begin, end), part(dy, begin, end))
		})
	}
	all.Wait()
	whole := result{gradients: parts[0].gradients}
	for _, p := range parts {
		whole.y, whole.dx = append(whole.y, p.y...), append(whole.dx, p.dx...)
	}
	return whole, errors.Join(errs...)
}

func part(m blas32.General, begin, end int) blas32.General {
	return blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Cols, Data: m.Data[begin*m.Cols : end*m.Cols]}
}

// onRank is what one rank does.
func onRank(ctx context.Context, tr transport.Transport, cfg switchyard.Config, x, dy blas32.General) (r result, err error) {
	w := switchyard.NewWorld(tr)
	defer func() { err = errors.Join(err, w.Close()) }()
	layer, err := switchyard.NewLayer(w, cfg)
	if err != nil {
		return r, err
	}
	y, err := layer.Forward(ctx, x)
	if err != nil {
		return r, err
	}
	r.y = slices.Clone(y.Data)
	dx, err := layer.Backward(ctx, dy)
	if err != nil {
		return r, err
	}
	r.dx = slices.Clone(dx.Data)
	r.gradients, err = layer.Gradients(ctx)
	return r, err
}
