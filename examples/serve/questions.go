package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// question is a request of which the right answer is known.
type question struct {
	body           []byte // in JSON
	values, answer []float32
}

// newQuestions returns n requests of 1 to most tokens, with what the layer says to each of them
// alone, on a single rank.
func (m model) newQuestions(ctx context.Context, n, most int) (list []question, err error) {
	world := switchyard.NewWorld(inproc.New(1)[0])
	defer func() {
		if closed := world.Close(); err == nil {
			err = closed
		}
	}()
	layer, err := m.newLayer(ctx, world)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(m.seed, 1))
	for range n {
		q, err := m.newQuestion(ctx, r, layer, 1+r.IntN(most))
		if err != nil {
			return nil, err
		}
		list = append(list, q)
	}
	return list, nil
}

func (m model) newQuestion(ctx context.Context, r *rand.Rand, layer *switchyard.Layer, tokens int) (q question, err error) {
	q.values = make([]float32, tokens*m.dim)
	for i := range q.values {
		q.values[i] = float32(r.NormFloat64())
	}
	if q.body, err = encodeTokens(q.values, m.dim); err != nil {
		return q, err
	}
	y, err := layer.Eval(ctx, blas32.General{Rows: tokens, Cols: m.dim, Stride: m.dim, Data: q.values})
	q.answer = slices.Clone(y.Data)
	return q, err
}

// check compares an answer with the right one, bit by bit.
func (q question) check(got []float32) error {
	if len(got) != len(q.answer) {
		return fmt.Errorf("answer to %.60s…: %d numbers, want %d", q.body, len(got), len(q.answer))
	}
	for i := range q.answer {
		if got[i] != q.answer[i] {
			return fmt.Errorf("answer to %.60s…: number %d of %d is wrong", q.body, i, len(got))
		}
	}
	return nil
}
