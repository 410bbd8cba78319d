package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

// perStep is the number of batches of a step in the tests of passes.
const perStep = 4

// batches are a rank's batches of a step, and the gradients of their outputs.
type batches struct{ x, dy [perStep]blas32.General }

// batchesOf cuts a rank's share of whole groups out of batches that depend on seed.
func batchesOf(w *World, seed uint64) (b batches) {
	r := rand.New(rand.NewPCG(seed, 6))
	const groups = bitsTokens / bitsGroup
	begin, end := int(w.Rank())*groups/w.Size(), (int(w.Rank())+1)*groups/w.Size()
	for m := range perStep {
		b.x[m] = part(randomMatrix(r, bitsTokens, bitsDim), begin*bitsGroup, end*bitsGroup)
		b.dy[m] = part(randomMatrix(r, bitsTokens, bitsDim), begin*bitsGroup, end*bitsGroup)
	}
	return b
}

// marks are what a step does to its batches: f0 runs the Forward of batch 0, b0 its Backward, d0
// drops it.
var (
	oneByOne   = []string{"f0", "b0", "f1", "b1", "f2", "b2", "f3", "b3"}
	gPipe      = []string{"f0", "f1", "f2", "f3", "b0", "b1", "b2", "b3"}
	oneFOneB   = []string{"f0", "f1", "b0", "f2", "b1", "f3", "b2", "b3"}
	backwards  = []string{"f0", "f1", "f2", "f3", "b3", "b1", "b2", "b0"}
	recomputed = []string{"f0", "d0", "f1", "f2", "d1", "d2", "f0", "b0", "f1", "b1", "f2", "b2", "f3", "b3"}
)

// left is what steps leave on a rank: outputs and gradients of tokens of each batch, step by step,
// and the parameters.
type left struct {
	results    [perStep][][]float32
	parameters []Tensor
}

// trainByMarks takes two steps, each by the marks.
func trainByMarks(ctx context.Context, w *World, cfg Config, marks []string) (res left, err error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return res, err
	}
	for step := range uint64(2) {
		b := batchesOf(w, step)
		var passes [perStep]*Pass
		for _, mark := range marks {
			m := int(mark[1] - '0')
			if err := runMark(ctx, l, mark[0], &passes[m], m, &b, &res); err != nil {
				return res, fmt.Errorf("%s: %w", mark, err)
			}
		}
		if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
			return res, err
		}
	}
	res.parameters, err = l.Parameters(ctx)
	return res, err
}

// runMark does one thing to batch m.
func runMark(ctx context.Context, l *Layer, do byte, p **Pass, m int, b *batches, res *left) (err error) {
	switch {
	case do == 'd':
		return (*p).Drop()
	case do == 'b':
		dx, err := (*p).Backward(ctx, b.dy[m])
		if err != nil {
			return err
		}
		y := (*p).Output()
		res.results[m] = append(res.results[m], append([]float32(nil), y.Data...), append([]float32(nil), dx.Data...))
		return (*p).Release()
	case *p == nil:
		*p, err = l.ForwardPass(ctx, b.x[m], router.Batch{Micro: m})
		return err
	}
	copied := mat.Resize(blas32.General{}, b.x[m].Rows, bitsDim) // in other memory
	mat.Copy(copied, b.x[m])
	y, err := (*p).Forward(ctx, copied, router.Batch{Micro: m})
	if err != nil {
		return err
	}
	if out := (*p).Output(); len(y.Data) > 0 && &out.Data[0] != &y.Data[0] {
		return errors.New("Output is not what Forward returned")
	}
	return nil
}

// TestPassesInFlight: four batches in any order of their passes have the bits of one after another.
func TestPassesInFlight(t *testing.T) {
	needExactProducts(t)
	for name, cfg := range layersUnderTest() {
		cfg.MicroBatches = perStep
		of := func(marks []string) []left {
			worlds := inprocWorlds(3)
			defer closeWorlds(worlds)
			got := make([]left, len(worlds))
			for rank, err := range atOnce(worlds, func(w *World) (err error) {
				got[w.Rank()], err = trainByMarks(t.Context(), w, cfg, marks)
				return err
			}) {
				require.NoError(t, err, "%s, rank %d", name, rank)
			}
			return got
		}
		want := of(oneByOne)
		for order, marks := range map[string][]string{
			"GPipe": gPipe, "1F1B": oneFOneB, "other order": backwards, "recomputation": recomputed,
		} {
			require.Equal(t, want, of(marks), "%s, %s", name, order)
		}
	}
}
