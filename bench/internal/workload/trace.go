package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/router"
)

// trace is the experts that a trained layer chooses for the tokens of a text, in their order.
type trace struct{ tokens [][]int32 }

// openTrace routes the tokens of the first layer in a file that -record of examples/train has
// written, as that layer does.
func openTrace(file string, experts int) (t *trace, err error) {
	f, err := safetensors.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, at := range f.Tensors() {
		block, isInput := strings.CutSuffix(at.Name, ".input")
		if !isInput {
			continue
		}
		if t, err = routesOf(f, block, experts); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return t, nil
	}
	return nil, fmt.Errorf("%s: no layer has experts", file)
}

// routesOf routes the tokens of one layer.
func routesOf(f *safetensors.File, block string, experts int) (*trace, error) {
	k, err := strconv.Atoi(f.Metadata()["topk"])
	if err != nil {
		return nil, err
	}
	x, err := matrixOf(f, block+".input")
	if err != nil {
		return nil, err
	}
	gate, err := matrixOf(f, block+".gate.gate")
	if err != nil {
		return nil, err
	}
	if gate.Cols != experts || gate.Rows != x.Cols {
		return nil, fmt.Errorf("%s routes tokens of %d columns to %d experts, want %d to %d", block, gate.Rows, gate.Cols, x.Cols, experts)
	}
	g, err := router.TopK{K: k}.New(router.Shape{Dim: x.Cols, Experts: experts})
	if err != nil {
		return nil, err
	}
	copy(g.Params().Of(g.Params().Value, 0), gate.Data)
	d, err := g.Route(x, router.Batch{Ends: []int{x.Rows}})
	if err != nil {
		return nil, err
	}
	t := &trace{make([][]int32, x.Rows)}
	for e := range experts {
		begin, end := d.Of(router.ExpertID(e))
		for _, token := range d.Token[begin:end] {
			t.tokens[token] = append(t.tokens[token], int32(e))
		}
	}
	return t, nil
}

// matrixOf reads a matrix of float32.
func matrixOf(f *safetensors.File, name string) (m blas32.General, err error) {
	at, ok := f.Lookup(name)
	if !ok || at.DType != safetensors.F32 || len(at.Shape) != 2 || at.Shape[0] == 0 {
		return m, fmt.Errorf("%s is no matrix of float32", name)
	}
	text := make([]byte, at.Bytes)
	if _, err := f.ReadInto(name, text); err != nil {
		return m, err
	}
	m = NewMatrix(at.Shape[0], at.Shape[1])
	for i := range m.Data {
		m.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(text[4*i:]))
	}
	return m, nil
}

// choices are the experts of tokens from number first on; after the last comes the first again.
func (t *trace) choices(first, tokens int) [][]int32 {
	list := make([][]int32, tokens)
	for i := range list {
		list[i] = t.tokens[(first+i)%len(t.tokens)]
	}
	return list
}
