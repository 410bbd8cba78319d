package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// TestRecomputation: passes that are dropped and run again before they go back leave what passes
// leave that are kept, with every router: its noise, routes, load and losses.
func TestRecomputation(t *testing.T) {
	for _, name := range someRouters() {
		t.Run(name, func(t *testing.T) {
			o, err := parse([]string{"-router", name, "-dim", "8", "-experts", "4", "-topk", "2", "-batch", "4", "-groups", "2", "-seq", "4", "-micro", "2"}, nil)
			require.NoError(t, err)
			want, got := recomputed(t, o, false), recomputed(t, o, true)
			require.Equal(t, want, got)
		})
	}
}

// recomputed takes two steps of two micro-batches on two ranks, and returns what they leave on each
// of them, as text.
func recomputed(t *testing.T, o options, drops bool) (left [2]string) {
	t.Helper()
	switchyardtest.Run(t, 2, func(ctx context.Context, w *switchyard.World) error {
		l, err := switchyard.NewLayer(w, o.layerConfig(1))
		if err != nil {
			return err
		}
		r := rand.New(rand.NewPCG(9, uint64(w.Rank())))
		for range 2 {
			text, err := stepOfTwo(ctx, l, r, drops)
			if err != nil {
				return err
			}
			left[w.Rank()] += text
			if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
				return err
			}
		}
		parameters, err := l.Parameters(ctx)
		left[w.Rank()] += fmt.Sprint(parameters)
		return err
	})
	return left
}

// stepOfTwo takes two micro-batches forward, and then back, the second first. It may drop both and
// run each again before it goes back.
func stepOfTwo(ctx context.Context, l *switchyard.Layer, r *rand.Rand, drops bool) (text string, err error) {
	var passes [2]*switchyard.Pass
	var x [2]blas32.General
	var info [2]router.Batch
	for m := range passes {
		of := informed{Layer: l, side: router.Batch{Micro: m}}
		tokens := make([]byte, 8)
		x[m] = blas32.General{Rows: 8, Cols: 8, Stride: 8}
		for i := range tokens {
			tokens[i] = byte(r.IntN(128))
		}
		for range 64 {
			x[m].Data = append(x[m].Data, float32(r.NormFloat64()))
		}
		of.Tokens(tokens)
		info[m] = of.side
		if passes[m], err = l.ForwardPass(ctx, x[m], info[m]); err != nil {
			return "", err
		}
		if drops {
			if err := passes[m].Drop(); err != nil {
				return "", err
			}
		}
	}
	for _, m := range []int{1, 0} {
		p := passes[m]
		if drops {
			if _, err := p.Forward(ctx, x[m], info[m]); err != nil {
				return "", err
			}
		}
		dx, err := p.Backward(ctx, x[m])
		if err != nil {
			return "", err
		}
		text += fmt.Sprintln(p.Output().Data, dx.Data, p.Stats().Choices)
		if err := p.Release(); err != nil {
			return "", err
		}
	}
	return text, nil
}
