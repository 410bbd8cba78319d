package dispatch_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/transport"
)

// BenchmarkStep is all four calls, with experts that do nothing.
func BenchmarkStep(b *testing.B) {
	for _, ranks := range []int{1, 2} {
		b.Run(fmt.Sprintf("ranks %d", ranks), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			p := newProblem(r, ranks, 1024*ranks, 8, 2)
			p.cfg.Dim, p.x, p.dy = 256, matrix(r, p.x.Rows, 256), matrix(r, p.x.Rows, 256)
			for i := range p.cuts {
				p.cuts[i] = 1024 * (i + 1)
			}
			b.ReportAllocs()
			for _, err := range onRanks(ranks, func(tr transport.Transport) error {
				d, err := dispatch.New(b.Context(), tr, p.cfg)
				if err != nil {
					return err
				}
				x, dy, indices, weights := p.part(int(tr.Rank()))
				for range b.N {
					pass, err := d.Dispatch(b.Context(), x, indices, weights)
					if err != nil {
						return err
					}
					_, combine := pass.Combine(b.Context(), pass.Rows())
					danswers, _, back := pass.CombineBackward(b.Context(), dy)
					_, dispatch := pass.DispatchBackward(b.Context(), danswers)
					if err := errors.Join(combine, back, dispatch, pass.Release()); err != nil {
						return err
					}
				}
				return nil
			}) {
				require.NoError(b, err)
			}
		})
	}
}
