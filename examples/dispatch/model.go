package main

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"
)

// model is a router and the experts of one rank. A token goes to the k experts with the largest
// scores, the products of the token with the rows of gate, and the weight of an answer is the
// sigmoid of its score. An expert answers with the hyperbolic tangent of its row times its matrix.
type model struct {
	gate            []float32 // experts × dim
	experts         []float32 // dim × dim for each expert hosted here
	dgate, dexperts []float32
	choices         []int32 // of the last batch
}

// newModel makes the experts from first to end, the same on any number of ranks.
func newModel(first, end int) *model {
	m := &model{gate: numbers(0, experts*dim), experts: numbers(1000+first*dim*dim, (end-first)*dim*dim)}
	m.dgate, m.dexperts = make([]float32, len(m.gate)), make([]float32, len(m.experts))
	return m
}

// batch is the tokens of a rank.
func batch(rank int) blas32.General {
	return blas32.General{Rows: tokens, Cols: dim, Stride: dim, Data: numbers(100_000+rank*tokens*dim, tokens*dim)}
}

// numbers are n that look random, of a fixed sequence.
func numbers(first, n int) []float32 {
	list := make([]float32, n)
	for i := range list {
		v := math.Sin(float64(first+i)) * 10_000
		list[i] = float32(v-math.Floor(v)) - 0.5
	}
	return list
}

func dot(a, b []float32) (sum float32) {
	for i, v := range a {
		sum += float32(v * b[i])
	}
	return sum
}

// add adds by times x to dst.
func add(dst []float32, by float32, x []float32) {
	for i, v := range x {
		dst[i] += float32(by * v)
	}
}

func row(m blas32.General, i int) []float32 { return m.Data[i*m.Stride:][:m.Cols] }

// route chooses experts, k for each token, and weighs their answers. Choices have no gradient.
func (m *model) route(x blas32.General) (indices []int32, weights []float32) {
	if m.choices == nil {
		m.choices = m.choose(x)
	}
	for i, e := range m.choices {
		score := float64(dot(row(x, i/k), m.gate[e*dim:][:dim]))
		weights = append(weights, float32(1/(1+math.Exp(-score))))
	}
	return m.choices, weights
}

func (m *model) choose(x blas32.General) (indices []int32) {
	scores, order := make([]float32, experts), make([]int32, experts)
	for t := range x.Rows {
		for e := range order {
			scores[e], order[e] = dot(row(x, t), m.gate[e*dim:][:dim]), int32(e)
		}
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
		indices = append(indices, order[:k]...)
	}
	return indices
}

// routeBackward takes the gradients of the weights to those of the gate, and adds to dx.
func (m *model) routeBackward(x blas32.General, indices []int32, weights, dweights []float32, dx blas32.General) {
	for i, e := range indices {
		dscore := dweights[i] * weights[i] * (1 - weights[i])
		add(row(dx, i/k), dscore, m.gate[e*dim:][:dim])
		add(m.dgate[e*dim:][:dim], dscore, row(x, i/k))
	}
}

// answer has each expert answer its rows, which end at ends.
func (m *model) answer(rows blas32.General, ends []int) blas32.General {
	answers := like(rows)
	m.eachRow(ends, func(i int, matrix, _ []float32) {
		for j := range dim {
			row(answers, i)[j] = float32(math.Tanh(float64(dot(row(rows, i), matrix[j*dim:][:dim]))))
		}
	})
	return answers
}

// answerBackward takes the gradients of the answers to those of the experts, and returns those of
// the rows.
func (m *model) answerBackward(rows blas32.General, ends []int, answers, danswers blas32.General) blas32.General {
	drows := like(rows)
	m.eachRow(ends, func(i int, matrix, dmatrix []float32) {
		for j, a := range row(answers, i) {
			d := row(danswers, i)[j] * (1 - a*a)
			add(row(drows, i), d, matrix[j*dim:][:dim])
			add(dmatrix[j*dim:][:dim], d, row(rows, i))
		}
	})
	return drows
}

// eachRow calls do with each row, and the matrix of its expert.
func (m *model) eachRow(ends []int, do func(i int, matrix, dmatrix []float32)) {
	i := 0
	for e, end := range ends {
		for ; i < end; i++ {
			do(i, m.experts[e*dim*dim:][:dim*dim], m.dexperts[e*dim*dim:][:dim*dim])
		}
	}
}

func like(m blas32.General) blas32.General {
	return blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols, Data: make([]float32, m.Rows*m.Cols)}
}

// distance is half the squared distance of y from ones, and its gradient.
func distance(y blas32.General) (loss float64, dy blas32.General) {
	dy = like(y)
	for i, v := range y.Data {
		dy.Data[i] = v - 1
		loss += float64(v-1) * float64(v-1) / 2
	}
	return loss, dy
}

func (m *model) outcome(loss float64, y, dx blas32.General) outcome {
	return outcome{
		loss: loss, y: slices.Clone(y.Data), dx: slices.Clone(dx.Data), dgate: m.dgate, dexperts: m.dexperts,
	}
}
