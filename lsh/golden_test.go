package lsh

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// goldenCase is a layer with clusters given, as other software computed it, forward and backward.
type goldenCase struct {
	Kind                string
	Tokens, Dim, Hidden int
	Experts, K          int
	TopK                [][]int
	Weights             []float32
	Inputs, Outputs     map[string]struct{ Data []float32 }
	Compression         *struct{ Clusters [][]int32 }
	rows                []int     // the token of each row, by expert and then by token
	weight              []float32 // of each row
	slot                []int     // of each row: its row in Weights
	ends                []int     // of each expert's rows
	gateGradient        []float32
}

// TestGoldens takes the routes from the file, and computes the rest of the layer.
func TestGoldens(t *testing.T) {
	data, err := os.ReadFile("../bench/testdata/goldens/layer.json")
	require.NoError(t, err)
	var file struct{ Cases []goldenCase }
	require.NoError(t, json.Unmarshal(data, &file))
	seen := 0
	for _, c := range file.Cases {
		if c.Compression != nil {
			seen++
			t.Run(c.Kind, c.check)
		}
	}
	require.Equal(t, 2, seen)
}

func (c *goldenCase) route() {
	for e := range c.Experts {
		for token, chosen := range c.TopK {
			if k := slices.Index(chosen, e); k >= 0 {
				c.rows, c.slot = append(c.rows, token), append(c.slot, token*c.K+k)
				c.weight = append(c.weight, c.Weights[token*c.K+k])
			}
		}
		c.ends = append(c.ends, len(c.rows))
	}
}

func (c *goldenCase) input(name string, rows int) blas32.General {
	d := c.Inputs[name].Data
	return blas32.General{Rows: rows, Cols: len(d) / rows, Stride: len(d) / rows, Data: d}
}

// gather returns the tokens' rows of m by expert, each times its weight if that is asked for.
func (c *goldenCase) gather(m blas32.General, weighted bool) blas32.General {
	out := like(blas32.General{Rows: len(c.rows), Cols: m.Cols})
	for i, token := range c.rows {
		for j, v := range mat.Row(m, token) {
			if weighted {
				v *= c.weight[i]
			}
			mat.Row(out, i)[j] = v
		}
	}
	return out
}

// kind is the expert of the case.
func (c *goldenCase) kind() expert.Expert {
	if c.Kind == "swiglu" {
		return expert.SwiGLU{Hidden: c.Hidden}
	}
	return expert.FFN{Hidden: c.Hidden, Activation: expert.GELU}
}

func (c goldenCase) check(t *testing.T) {
	c.route()
	experts, err := c.kind().New(expert.Shape{Dim: c.Dim, Count: c.Experts})
	require.NoError(t, err)
	params := experts.Params()
	for i, tensor := range params.Tensors() {
		copy(params.Of(params.Value, i), c.Inputs[tensor.Name].Data)
	}
	x, dy := c.input("x", c.Tokens), c.input("dy", c.Tokens)
	rows, dRows := c.gather(x, false), c.gather(dy, true)
	centroids, p := compressor(t, Config{Compensation: Identity}, c.Dim, c.Experts).CompressAs(rows, NewClusters(c.Compression.Clusters))
	answers, saved := experts.Forward(centroids, expert.Rows{Experts: c.Experts, Leaves: 1, Ends: p.Clusters().CentroidEnds})
	restored := like(rows)
	p.Restore(restored, answers)

	y := like(x)
	dWeights := make([]float32, len(c.Weights))
	for i, token := range c.rows {
		for j, v := range mat.Row(restored, i) {
			mat.Row(y, token)[j] += c.weight[i] * v
			dWeights[c.slot[i]] += v * mat.Row(dy, token)[j]
		}
	}
	c.near(t, "y", y.Data)

	dCentroids := experts.Backward(saved, p.RestoreBackward(dRows))
	p.CompressBackward(dRows, dCentroids)
	dx := like(x)
	for i, token := range c.rows {
		for j, v := range mat.Row(dRows, i) {
			mat.Row(dx, token)[j] += v
		}
	}
	c.gate(dx, x, dWeights)
	c.near(t, "d_x", dx.Data)
	c.near(t, "d_gate", c.gateGradient)
	grad := params.Grad.Total()
	for i, tensor := range params.Tensors() {
		c.near(t, "d_"+tensor.Name, params.Of(grad, i))
	}
}

// gate passes the gradients of weights, a softmax over the chosen logits of x·gate, on to dx and to
// the gate.
func (c *goldenCase) gate(dx, x blas32.General, dWeights []float32) {
	gate := c.input("gate", c.Dim)
	c.gateGradient = make([]float32, len(gate.Data))
	for token, chosen := range c.TopK {
		w, dw := c.Weights[token*c.K:][:c.K], dWeights[token*c.K:][:c.K]
		mean := float32(0)
		for k := range w {
			mean += w[k] * dw[k]
		}
		for k, e := range chosen {
			d := w[k] * (dw[k] - mean)
			for j, v := range mat.Row(x, token) {
				c.gateGradient[j*c.Experts+e] += d * v
				mat.Row(dx, token)[j] += d * mat.Row(gate, j)[e]
			}
		}
	}
}

// near requires the file's numbers to 1e-5, relative to each or to the tensor's mean.
func (c *goldenCase) near(t *testing.T, name string, got []float32) {
	t.Helper()
	want := c.Outputs[name].Data
	require.Len(t, got, len(want), name)
	mean := 0.0
	for _, w := range want {
		mean += math.Abs(float64(w)) / float64(len(want))
	}
	for i, w := range want {
		require.InDelta(t, w, got[i], 1e-5*max(mean, math.Abs(float64(w))), "%s, number %d", name, i)
	}
}
