package models_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/models"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// A layer is built from a block of a checkpoint, and its parameters are saved under the published
// names.
func ExampleOpen() {
	m, err := models.Open("testdata/goldens/mixtral")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = m.Close() }()
	b := m.Blocks[0]
	fmt.Println(m.Type, "layer", b.Layer, "has", b.Experts, "experts, of which a token gets", b.Routing.TopK)

	w := switchyard.NewWorld(inproc.New(1)[0])
	defer func() { _ = w.Close() }()
	layer, err := switchyard.NewLayer(w, m.Config(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	x := blas32.General{Rows: 2, Cols: b.Dim, Stride: b.Dim, Data: make([]float32, 2*b.Dim)}
	y, err := layer.Eval(context.Background(), x)
	fmt.Println(y.Rows, "answers,", err)
	// Output:
	// mixtral layer 0 has 8 experts, of which a token gets 2
	// 2 answers, <nil>
}

// Parameters are saved in the layout of the checkpoint.
func ExampleModel_Save() {
	m, err := models.Open("testdata/goldens/mixtral")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = m.Close() }()
	w := switchyard.NewWorld(inproc.New(1)[0])
	defer func() { _ = w.Close() }()
	layer, err := switchyard.NewLayer(w, m.Config(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	tensors, err := layer.Parameters(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	parent, err := os.MkdirTemp("", "saved")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(parent) }()
	fmt.Println(m.Save(filepath.Join(parent, "model"), map[int][]switchyard.Tensor{0: tensors}))
	// Output: <nil>
}
