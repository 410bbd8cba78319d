package expert_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// TestGLUFormula holds answers against the formula in float64.
func TestGLUFormula(t *testing.T) {
	const dim, hidden, rows = 5, 70, 4
	for _, c := range []expert.GLU{
		{Hidden: hidden},
		{Hidden: hidden, Alpha: 1.702, Shift: 1, Limit: 0.5, Biases: true},
		{Hidden: hidden, Limit: 0.25, LimitAct: true, OutputGate: true, Scale: 0.75},
	} {
		g, err := c.New(expert.Shape{Dim: dim, Count: 1, Seed: 3})
		require.NoError(t, err)
		p, r := g.Params(), rand.New(rand.NewPCG(1, 2))
		tensor := map[string][]float32{}
		for i, of := range p.Tensors() {
			tensor[of.Name] = p.Of(p.Value, i)
			for j := range tensor[of.Name] {
				tensor[of.Name][j] = float32(r.NormFloat64() / 2)
			}
		}
		x := blas32.General{Rows: rows, Cols: dim, Stride: dim, Data: make([]float32, rows*dim)}
		for i := range x.Data {
			x.Data[i] = float32(r.NormFloat64())
		}
		y, _ := g.Forward(x, expert.Rows{Experts: 1, Leaves: 1, Ends: []int{rows}})
		for i := range rows {
			want := gluRow(c, tensor, x.Data[i*dim:(i+1)*dim])
			neartest.Equal(t, want, y.Data[i*dim:(i+1)*dim], 1e-4, "%+v", c)
		}
	}
}

// gluRow is the answer to one row.
func gluRow(c expert.GLU, tensor map[string][]float32, x []float32) []float32 {
	dim, y := len(x), make([]float64, len(x))
	alpha, limit := float64(c.Alpha), float64(c.Limit)
	if alpha == 0 {
		alpha = 1
	}
	if limit == 0 {
		limit = math.Inf(1)
	}
	at := func(name string, i int) float64 {
		if tensor[name] == nil {
			return 0
		}
		return float64(tensor[name][i])
	}
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	logit := 0.0
	for j := range c.Hidden {
		g, u := at("b_gate", j), at("b_up", j)
		for i, v := range x {
			g += float64(v) * at("w_gate", i*c.Hidden+j)
			u += float64(v) * at("w_up", i*c.Hidden+j)
		}
		if !c.LimitAct {
			g = min(g, limit)
		}
		act := min(g*sigmoid(alpha*g), limit) * (max(-limit, min(u, limit)) + float64(c.Shift))
		if !c.LimitAct {
			act = g * sigmoid(alpha*g) * (max(-limit, min(u, limit)) + float64(c.Shift))
		}
		for i := range y {
			y[i] += act * at("w_down", j*dim+i)
		}
	}
	for i, v := range x {
		y[i] += at("b_down", i)
		logit += float64(v) * at("w_out", i)
	}
	out := make([]float32, dim)
	for i := range out {
		if c.OutputGate {
			y[i] *= sigmoid(logit)
		}
		if c.Scale != 0 {
			y[i] *= float64(c.Scale)
		}
		out[i] = float32(y[i])
	}
	return out
}

func TestGLUErrors(t *testing.T) {
	_, err := expert.GLU{Alpha: -1, Limit: float32(math.Inf(1)), Shift: float32(math.NaN()), Biases: true, OutputGate: true}.
		New(expert.Shape{Dim: 1, Count: 1})
	for _, says := range []string{"Hidden is 0", "Alpha is -1", "Limit is +Inf", "Shift is NaN", "go without Biases"} {
		require.ErrorContains(t, err, says)
	}
}

// An expert as in gpt-oss has biases and clamps.
func ExampleGLU() {
	experts, err := expert.GLU{Hidden: 16, Alpha: 1.702, Shift: 1, Limit: 7, Biases: true}.New(expert.Shape{Dim: 4, Count: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range experts.Params().Tensors() {
		fmt.Print(t.Name, " ", t.Shape, " ")
	}
	// Output: w_gate [3 4 16] w_up [3 4 16] w_down [3 16 4] b_gate [3 16] b_up [3 16] b_down [3 4]
}
