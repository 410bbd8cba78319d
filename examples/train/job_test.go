package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/switchyardtest"
	"github.com/switchyard-moe/switchyard/transport"
)

// trainTiny runs the program and returns what it printed and what it wrote to -json.
func trainTiny(t *testing.T, more ...string) (string, result) {
	t.Helper()
	path := t.TempDir() + "/result.json"
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), tiny(append(more, "-json", path)...), &stdout, &stderr)
	require.Zero(t, code, stderr.String())
	return stdout.String(), readResult(t, path)
}

// readResult reads what -json has written.
func readResult(t *testing.T, path string) (r result) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// The parameters and all losses have the same bits on any number of ranks, one without leaves
// included.
func TestRanksGiveTheSameBits(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	_, want := trainTiny(t, "-ranks", "1", "-text", text)
	require.Len(t, want.ParamSHA256, 64)
	require.Zero(t, want.WireBytes)
	require.Positive(t, want.DroppedTokens, "the test is to cover drops")
	for _, ranks := range []int{2, 3, 4, 9} {
		_, got := trainTiny(t, "-ranks", fmt.Sprint(ranks), "-text", text)
		require.Equal(t, ranks, got.Ranks)
		require.Positive(t, got.WireBytes)
		got.Ranks, got.WireBytes, got.SumBytes, got.TokensPerSecond = 1, 0, 0, want.TokensPerSecond
		require.Less(t, got.Parameters, want.Parameters, "rank 0 hosts fewer experts")
		got.Parameters, got.MomentBytes = want.Parameters, want.MomentBytes
		got.StepMS, got.ExchangeShare, got.Course = want.StepMS, want.ExchangeShare, want.Course
		require.Equal(t, want, got, "%d ranks", ranks)
	}
	_, other := trainTiny(t, "-ranks", "1", "-text", text, "-seed", "2")
	require.NotEqual(t, want.ParamSHA256, other.ParamSHA256)
}

func TestOutputTellsAll(t *testing.T) {
	clearLauncher(t)
	svg := t.TempDir() + "/loss.svg"
	out, r := trainTiny(t, "-ranks", "2", "-text", short(t), "-svg", svg)
	for _, want := range []string{
		"step 1/3", "step 3/3", "tokens/s", "on the wire", "held-out loss", "bigram's", "sample", "expert load of block 3", "loss curve: " + svg,
		r.ParamSHA256, "ranks: 2 over inproc",
	} {
		require.Contains(t, out, want)
	}
	require.FileExists(t, svg)
	require.Equal(t, 1, strings.Count(out, "held-out loss"), "rank 0 alone prints")
}

func TestBarIsDrawn(t *testing.T) {
	clearLauncher(t)
	out, _ := trainTiny(t, "-ranks", "1", "-text", short(t), "-progress", "bar")
	require.Contains(t, out, overwrite+strings.Repeat("█", 24)+" 3/3  loss ")
	out, _ = trainTiny(t, "-ranks", "1", "-text", short(t), "-progress", "none")
	require.NotContains(t, out, "1/3")
}

func TestRanksWithOtherFlagsAreNamed(t *testing.T) {
	o, err := parse(tiny(), io.Discard)
	require.NoError(t, err)
	errs := switchyardtest.Errors(t, 3, func(ctx context.Context, w *switchyard.World) error {
		mine := o
		if w.Rank() == 2 {
			mine.lr = 0.5
		}
		_, err := newTrainer(ctx, w, mine, generate(1, 3000))
		return err
	})
	for _, err := range errs {
		require.ErrorIs(t, err, errOptions)
		require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
	}
}

// TestRanksMayNameFoldersByOtherPaths, but all or none save.
func TestRanksMayNameFoldersByOtherPaths(t *testing.T) {
	o, err := parse(tiny(), io.Discard)
	require.NoError(t, err)
	for _, folder := range []string{"", "b"} {
		errs := switchyardtest.Errors(t, 2, func(ctx context.Context, w *switchyard.World) error {
			mine := o
			if mine.save = "a"; w.Rank() == 1 {
				mine.save = folder
			}
			return agree(ctx, w, mine, nil)
		})
		for _, err := range errs {
			require.Equal(t, folder == "", errors.Is(err, errOptions), "%v", err)
		}
	}
}

// A rank that gives up in the middle ends the others, who name it.
func TestFailingRankIsNamed(t *testing.T) {
	o, err := parse(tiny("-steps", "100"), io.Discard)
	require.NoError(t, err)
	errs := switchyardtest.Errors(t, 4, func(ctx context.Context, w *switchyard.World) error {
		t, err := newTrainer(ctx, w, o, generate(1, 3000))
		for n := 0; err == nil && n < o.steps; n++ {
			if n == 3 && w.Rank() == 1 {
				return nil
			}
			_, err = t.step(ctx, n)
		}
		return err
	})
	for r, err := range errs {
		if r != 1 {
			require.Error(t, err)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "%v", err)
		}
	}
}

// The gradient of the whole model through a Switchyard layer: moving all parameters along it
// changes the loss by its squared length. Every expert is chosen, so that no step crosses from one
// choice to another.
func TestWholeGradient(t *testing.T) {
	o, err := parse(tiny("-topk", "4", "-capacity", "0", "-balance", "0"), io.Discard)
	require.NoError(t, err)
	errs := switchyardtest.Errors(t, 1, func(ctx context.Context, w *switchyard.World) error {
		tr, err := newTrainer(ctx, w, o, generate(1, 3000))
		require.NoError(t, err)
		loss := func() float64 {
			sums, err := tr.model.Forward(ctx, tr.data.trainBatches(0)[0])
			require.NoError(t, err)
			total := 0.0
			for _, s := range sums {
				total += s
			}
			return total / float64(o.batch*o.seq)
		}
		loss()
		require.NoError(t, tr.model.Backward(ctx))
		move, squared := tr.alongGradient(t)
		without := func() float64 { // a gradient
			defer func() {
				for _, layer := range tr.layers {
					require.NoError(t, layer.Discard())
				}
			}()
			return loss()
		}
		const step = 1e-3
		move(step)
		up := without()
		move(-2 * step)
		down := without()
		require.InEpsilon(t, squared, (up-down)/(2*step), 2e-2)
		return nil
	})
	require.NoError(t, errs[0])
}

// alongGradient returns a function that moves all parameters by a multiple of the gradient of the
// last backward pass, and the gradient's squared length.
func (t *trainer) alongGradient(tt *testing.T) (move func(by float32), squared float64) {
	tt.Helper()
	var dense [][]float32
	for _, set := range t.dense {
		dense = append(dense, slices.Clone(set.Grad.Total()))
		squared += lengthSquared(dense[len(dense)-1])
	}
	var gradients [][]switchyard.Tensor
	for _, layer := range t.layers {
		g, err := layer.Gradients(context.Background())
		require.NoError(tt, err)
		gradients = append(gradients, g)
		for _, tensor := range g {
			squared += lengthSquared(tensor.Data)
		}
	}
	return func(by float32) {
		for i, set := range t.dense {
			addScaled(set.Value, by, dense[i])
		}
		for i, layer := range t.layers {
			params, err := layer.Parameters(context.Background())
			require.NoError(tt, err)
			for k := range params {
				addScaled(params[k].Data, by, gradients[i][k].Data)
			}
			require.NoError(tt, layer.Load(params))
		}
	}, squared
}

func lengthSquared(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

func addScaled(dst []float32, by float32, x []float32) {
	for i, v := range x {
		dst[i] += by * v
	}
}

// TestMicroBatches: a step of micro-batches in flight at once begins with the losses of a whole
// batch, and has the same bits on any number of ranks, in parts and with a gate that remembers.
func TestMicroBatches(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	for _, more := range [][]string{nil, {"-overlap", "2", "-router", "sigmoid-bias"}} {
		flags := append([]string{"-text", text, "-groups", "4"}, more...)
		_, whole := trainTiny(t, append(flags, "-ranks", "1")...)
		var first result
		for _, ranks := range []int{1, 3} {
			_, got := trainTiny(t, append(flags, "-micro", "2", "-ranks", fmt.Sprint(ranks))...)
			require.Equal(t, whole.LossFirst, got.LossFirst)
			require.InDelta(t, whole.ValLoss, got.ValLoss, 0.01)
			if ranks == 1 {
				first = got
			}
			require.Equal(t, first.ParamSHA256, got.ParamSHA256, "%d ranks, %v", ranks, more)
			require.Equal(t, first.ExpertLoad, got.ExpertLoad)
		}
		require.NotEqual(t, whole.ParamSHA256, first.ParamSHA256, "gradients add up in another order")
	}
}
