// Package modelcheck holds the blocks of models against what another library computed of them.
package modelcheck

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// maxTensor bounds a tensor of vectors: they are small.
const maxTensor = 64 << 20

// golden is the vectors of a checkpoint.
type golden struct {
	Layers []struct {
		Layer int `json:"layer"`
	} `json:"moe_layers"`

	file *safetensors.File
}

func openGolden(dir string) (*golden, error) {
	text, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		return nil, err
	}
	g := &golden{}
	if err := json.Unmarshal(text, g); err != nil {
		return nil, fmt.Errorf("%s: golden.json: %w", dir, err)
	}
	g.file, err = safetensors.Open(filepath.Join(dir, "golden.safetensors"))
	return g, err
}

// raw reads a tensor of 4 or 8 bytes an element.
func (g *golden) raw(name string, want safetensors.DType) (safetensors.Tensor, []byte, error) {
	t, ok := g.file.Lookup(name)
	if !ok || t.DType != want || t.Bytes > maxTensor {
		return t, nil, fmt.Errorf("golden.safetensors: no tensor %q of type %v and at most %d bytes", name, want, maxTensor)
	}
	raw := make([]byte, t.Bytes)
	_, err := g.file.ReadInto(name, raw)
	return t, raw, err
}

// floats reads a tensor of float32.
func (g *golden) floats(name string) ([]float32, error) {
	_, raw, err := g.raw(name, safetensors.F32)
	v := make([]float32, len(raw)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return v, err
}

// ints reads a tensor of int64.
func (g *golden) ints(name string) ([]int, error) {
	_, raw, err := g.raw(name, safetensors.I64)
	v := make([]int, len(raw)/8)
	for i := range v {
		v[i] = int(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return v, err
}

// logits reads the router logits of all blocks.
func (g *golden) logits(kind string) (list []blas32.General, err error) {
	for {
		name := fmt.Sprintf("model.router_logits%s.%d", kind, len(list))
		if _, ok := g.file.Lookup(name); !ok {
			return list, nil
		}
		l, err := g.matrix(name)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
}

// matrix reads a tensor of float32 with two dimensions.
func (g *golden) matrix(name string) (blas32.General, error) {
	v, err := g.floats(name)
	if err != nil {
		return blas32.General{}, err
	}
	t, _ := g.file.Lookup(name)
	if len(t.Shape) != 2 {
		return blas32.General{}, fmt.Errorf("golden.safetensors: tensor %q is %v, want a matrix", name, t.Shape)
	}
	return blas32.General{Rows: t.Shape[0], Cols: t.Shape[1], Stride: t.Shape[1], Data: v}, nil
}
