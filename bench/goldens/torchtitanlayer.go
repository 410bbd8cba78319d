package goldens

import (
	"context"
	"fmt"
	"slices"
)

// torchtitanLayer checks a whole layer on every number of ranks. The file's matrices are
// transposed.
func (c *trainerCase) torchtitanLayer() error {
	if c.options.OnInput {
		return cannot("weights that multiply the experts' input")
	}
	layer, err := c.layer()
	if err != nil {
		return err
	}
	for _, ranks := range layerRanks {
		got, err := layer.run(context.Background(), ranks)
		if err == nil {
			err = layer.compare(got, &c.into.worst)
		}
		if err != nil {
			return fmt.Errorf("%d ranks: %w", ranks, err)
		}
	}
	return nil
}

// layer returns the case in the form of those of a layer file.
func (c *trainerCase) layer() (layerCase, error) {
	in := &c.in
	if len(in.X.Shape) != 2 || len(in.W1.Shape) != 3 {
		return layerCase{}, fmt.Errorf("shapes %v of x and %v of w1, want two and three numbers", in.X.Shape, in.W1.Shape)
	}
	topK, err := c.torchtitanTopK()
	if err != nil {
		return layerCase{}, err
	}
	dim, hidden := in.X.Shape[1], in.W1.Shape[1]
	for name, t := range map[string]struct {
		layerTensor
		want []int
	}{
		"x": {in.X, []int{in.Tokens, dim}}, "dy": {in.DY, []int{in.Tokens, dim}}, "gate": {in.Gate, []int{in.Experts, dim}},
		"w1": {in.W1, []int{in.Experts, hidden, dim}}, "w3": {in.W3, []int{in.Experts, hidden, dim}}, "w2": {in.W2, []int{in.Experts, dim, hidden}},
	} {
		if !slices.Equal(t.Shape, t.want) {
			return layerCase{}, fmt.Errorf("%s has shape %v, want %v", name, t.Shape, t.want)
		}
	}
	l := layerCase{Kind: "swiglu", Tokens: in.Tokens, Dim: dim, Hidden: hidden, Experts: in.Experts, K: in.K, given: topK}
	l.Inputs = map[string]layerTensor{
		"x": in.X, "dy": in.DY, "gate": in.Gate.transposed(), "w_gate": in.W1.transposed(), "w_up": in.W3.transposed(), "w_down": in.W2.transposed(),
	}
	if err := l.validate(); err != nil {
		return l, err
	}
	l.Outputs = map[string]layerTensor{
		"y": {in.X.Shape, c.out.Y}, "d_x": {in.X.Shape, c.out.DX},
		"d_gate": layerTensor{in.Gate.Shape, c.out.DGate}.transposed(), "d_w_gate": layerTensor{in.W1.Shape, c.out.DW1}.transposed(),
	}
	return l, nil
}

// transposed returns the matrix, or stack of matrices, with rows and columns exchanged. It is empty
// if the data do not fit the shape.
func (t layerTensor) transposed() layerTensor {
	n := len(t.Shape)
	shape := slices.Clone(t.Shape)
	rows, cols := shape[n-2], shape[n-1]
	shape[n-2], shape[n-1] = cols, rows
	size := 1
	for _, d := range shape {
		size *= d
	}
	if size != len(t.Data) {
		return layerTensor{Shape: shape}
	}
	data := make([]float32, 0, len(t.Data))
	for m := range slices.Chunk(t.Data, max(rows*cols, 1)) {
		for j := range cols {
			for i := range rows {
				data = append(data, m[i*cols+j])
			}
		}
	}
	return layerTensor{shape, data}
}
