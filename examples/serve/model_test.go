package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// TestServesACheckpoint: three ranks answer as the layer did that two ranks have trained and saved.
func TestServesACheckpoint(t *testing.T) {
	dir := t.TempDir()
	o := flags(t, "-checkpoint", dir, "-part", "layers.1.moe", "-share-experts")
	x := blas32.General{Rows: 3, Cols: o.dim, Stride: o.dim, Data: make([]float32, 3*o.dim)}
	for i := range x.Data {
		x.Data[i] = float32(i%7) - 3
	}
	var want []float32
	switchyardtest.Run(t, 2, func(ctx context.Context, w *switchyard.World) error {
		layer, err := switchyard.NewLayer(w, o.config())
		require.NoError(t, err)
		adam := expert.NewAdam(0.1)
		y, err := layer.Forward(ctx, x)
		require.NoError(t, err)
		_, err = layer.Backward(ctx, y)
		require.NoError(t, err)
		require.NoError(t, layer.Step(ctx, adam))
		saver, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		require.NoError(t, err)
		state, err := layer.State(adam)
		require.NoError(t, err)
		require.NoError(t, saver.Save(ctx, 1, checkpoint.Part{Name: o.part, State: state}))
		require.NoError(t, saver.Close())
		y, err = layer.Eval(ctx, x)
		require.NoError(t, err)
		if w.Rank() == 0 {
			want = append(want, y.Data...)
		}
		return nil
	})
	trained, err := startJob(t, 3, o).evaluate(t.Context(), x.Data)
	require.NoError(t, err)
	require.Equal(t, want, trained)
	fresh, err := startJob(t, 1, flags(t)).evaluate(t.Context(), x.Data)
	require.NoError(t, err)
	require.NotEqual(t, want, fresh, "it has been trained")
}
