package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/examples/internal/gpt"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// recorder is a layer whose last steps are recorded, as many as were taken with the same
// parameters: one, or all with -lr 0. It keeps tokens, the gradients of the loss with respect to
// the layer's output, and the parameters.
type recorder struct {
	*informed
	block           int
	input, gradient switchyard.Tensor
	params          []switchyard.Tensor
}

// recorded is a block's layer, with a recorder around it if one is wanted.
func (t *trainer) recorded(block int, l *informed) gpt.Layer {
	if t.options.record == "" {
		return l
	}
	r := &recorder{informed: l, block: block}
	t.recorders = append(t.recorders, r)
	return r
}

// Forward is that of the layer, and keeps its input.
func (r *recorder) Forward(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	params, err := r.Parameters(ctx)
	if err != nil {
		return y, err
	}
	if !slices.EqualFunc(params, r.params, sameValues) {
		r.params, r.input, r.gradient = nil, switchyard.Tensor{Name: "input"}, switchyard.Tensor{Name: "gradient"}
		for _, p := range params {
			p.Data = slices.Clone(p.Data) // an update follows
			r.params = append(r.params, p)
		}
	}
	appendRows(&r.input, x)
	return r.informed.Forward(ctx, x)
}

func sameValues(a, b switchyard.Tensor) bool { return slices.Equal(a.Data, b.Data) }

// Backward is that of the layer, and keeps the gradient that it gets.
func (r *recorder) Backward(ctx context.Context, dy blas32.General) (dx blas32.General, err error) {
	appendRows(&r.gradient, dy)
	return r.informed.Backward(ctx, dy)
}

// appendRows adds the rows of a matrix to a tensor.
func appendRows(t *switchyard.Tensor, m blas32.General) {
	for i := range m.Rows {
		t.Data = append(t.Data, m.Data[i*m.Stride:i*m.Stride+m.Cols]...)
	}
	t.Shape = []int{len(t.Data) / m.Cols, m.Cols}
}

// saveRecord writes what recorders hold as a file of tensors: block1.input, block1.gradient, and
// the parameters as block1.gate.w and so on.
func (t *trainer) saveRecord() error {
	if t.options.record == "" {
		return nil
	}
	if slices.ContainsFunc(t.recorders, func(r *recorder) bool { return r.params == nil }) {
		return errors.New("-record: there is nothing to record, as no step was left to take")
	}
	data := map[string][]float32{}
	var list []safetensors.Tensor
	for _, r := range t.recorders {
		for _, p := range append([]switchyard.Tensor{r.input, r.gradient}, r.params...) {
			name := fmt.Sprintf("block%d.%s", r.block, p.Name)
			list, data[name] = append(list, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: p.Shape}), p.Data
		}
	}
	o := t.options
	plan, err := safetensors.NewPlan(map[string]string{"topk": fmt.Sprint(o.topk), "seq": fmt.Sprint(o.seq), "seed": fmt.Sprint(o.seed)}, list)
	if err != nil {
		return err
	}
	return outfile.Write(o.record, func(to io.Writer) error { return writeTensors(to, plan, data) })
}

// writeTensors writes the tensors of a plan.
func writeTensors(to io.Writer, plan *safetensors.Plan, data map[string][]float32) error {
	w, err := safetensors.NewWriter(to, plan)
	if err != nil {
		return err
	}
	for _, p := range plan.Tensors() {
		text := make([]byte, 0, p.Bytes)
		for _, v := range data[p.Name] {
			text = binary.LittleEndian.AppendUint32(text, math.Float32bits(v))
		}
		if err := w.Write(p.Name, text); err != nil {
			return err
		}
	}
	return w.Close()
}
