// Package law measures, on rows of a trained model, how far each way to compress is from float32
// rows, and fits laws to that: error against the number of rows in a group, the rate and the bits.
// Nothing is trained, so it takes minutes.
package law

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// block is a layer with experts and what it got in one step.
type block struct {
	name                        string
	x, dy                       blas32.General // tokens, and gradients of the output
	params                      []switchyard.Tensor
	experts, hidden, topK, seed int
}

// readRecord reads what -record of examples/train has written.
func readRecord(path string) (blocks []*block, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	byName := map[string]*block{}
	for _, at := range f.Tensors() {
		name, of, _ := strings.Cut(at.Name, ".")
		b := byName[name]
		if b == nil {
			b = &block{name: name}
			byName[name], blocks = b, append(blocks, b)
		}
		values, err := readFloats(f, at)
		if err != nil {
			return nil, err
		}
		switch of {
		case "input":
			b.x, err = matrix(at, values)
		case "gradient":
			b.dy, err = matrix(at, values)
		default:
			b.params = append(b.params, switchyard.Tensor{Name: of, Shape: at.Shape, Data: values})
		}
		if err != nil {
			return nil, err
		}
	}
	for _, b := range blocks {
		if err := b.complete(f.Metadata()); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, b.name, err)
		}
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s: no layer has experts", path)
	}
	return blocks, nil
}

func readFloats(f *safetensors.File, at safetensors.Tensor) ([]float32, error) {
	if at.DType != safetensors.F32 {
		return nil, fmt.Errorf("%s is %v, want F32", at.Name, at.DType)
	}
	text := make([]byte, at.Bytes)
	if _, err := f.ReadInto(at.Name, text); err != nil {
		return nil, err
	}
	values := make([]float32, len(text)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(text[4*i:]))
	}
	return values, nil
}

func matrix(at safetensors.Tensor, values []float32) (blas32.General, error) {
	if len(at.Shape) != 2 {
		return blas32.General{}, fmt.Errorf("%s has %d dimensions, want 2", at.Name, len(at.Shape))
	}
	return blas32.General{Rows: at.Shape[0], Cols: at.Shape[1], Stride: at.Shape[1], Data: values}, nil
}

// complete reads sizes off the tensors, and reports what is missing.
func (b *block) complete(about map[string]string) (err error) {
	if b.x.Rows == 0 || b.x.Rows != b.dy.Rows || b.x.Cols != b.dy.Cols {
		return fmt.Errorf("%d × %d tokens and %d × %d gradients, want as many", b.x.Rows, b.x.Cols, b.dy.Rows, b.dy.Cols)
	}
	if b.topK, err = strconv.Atoi(about["topk"]); err != nil {
		return err
	}
	if b.seed, err = strconv.Atoi(about["seed"]); err != nil {
		return err
	}
	for _, p := range b.params {
		if p.Name == "expert.w1" && len(p.Shape) == 3 {
			b.experts, b.hidden = p.Shape[0], p.Shape[2]
			return nil
		}
	}
	return errors.New("no expert.w1 of three dimensions")
}
