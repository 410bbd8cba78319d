package gpt

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// This file is the slow reference: the model's forward pass in float64, written as plainly as can
// be. Its finite differences are what the backward passes are compared with.

// table is a float64 matrix as a slice of rows.
type table [][]float64

func newTable(rows, cols int) table {
	t := make(table, rows)
	for i := range t {
		t[i] = make([]float64, cols)
	}
	return t
}

// tableOf shapes a flat vector.
func tableOf(vec []float64, cols int) table {
	t := newTable(len(vec)/cols, cols)
	for i := range t {
		copy(t[i], vec[i*cols:])
	}
	return t
}

func (t table) flat() []float64 {
	var vec []float64
	for _, r := range t {
		vec = append(vec, r...)
	}
	return vec
}

func wide(vec []float32) []float64 {
	out := make([]float64, len(vec))
	for i, v := range vec {
		out[i] = float64(v)
	}
	return out
}

func wideMatrix(m blas32.General) table {
	t := newTable(m.Rows, m.Cols)
	for i := range t {
		copy(t[i], wide(row(m, i)))
	}
	return t
}

func refNorm(x table, gain, bias []float64) table {
	y := newTable(len(x), len(gain))
	for i, r := range x {
		var mean, variance float64
		for _, v := range r {
			mean += v / float64(len(r))
		}
		for _, v := range r {
			variance += (v - mean) * (v - mean) / float64(len(r))
		}
		for j, v := range r {
			y[i][j] = (v-mean)/math.Sqrt(variance+normEps)*gain[j] + bias[j]
		}
	}
	return y
}

func refLinear(x, w table, bias []float64) table {
	y := newTable(len(x), len(w[0]))
	for i := range x {
		for j := range y[i] {
			if bias != nil {
				y[i][j] = bias[j]
			}
			for k, v := range x[i] {
				y[i][j] += v * w[k][j]
			}
		}
	}
	return y
}

func refGELU(x table) table {
	y := newTable(len(x), len(x[0]))
	for i, r := range x {
		for j, v := range r {
			y[i][j] = v * (1 + math.Erf(v/math.Sqrt2)) / 2
		}
	}
	return y
}

func refAdd(x, y table) table {
	sum := newTable(len(x), len(x[0]))
	for i := range x {
		for j := range x[i] {
			sum[i][j] = x[i][j] + y[i][j]
		}
	}
	return sum
}

// refAttend is multi-head attention of queries, keys and values side by side in the columns of qkv,
// causal unless it goes both ways.
func refAttend(qkv table, seq, heads int, both bool) table {
	dim := len(qkv[0]) / 3
	width := dim / heads
	out := newTable(len(qkv), dim)
	for t := range qkv {
		for h := range heads {
			var weights []float64
			total := 0.0
			last := t
			if both {
				last = t/seq*seq + seq - 1
			}
			for s := t / seq * seq; s <= last; s++ {
				score := 0.0
				for j := h * width; j < (h+1)*width; j++ {
					score += qkv[t][j] * qkv[s][dim+j] / math.Sqrt(float64(width))
				}
				score -= math.Abs(float64(t-s)) / float64(int(1)<<(8*h/heads))
				weights = append(weights, math.Exp(score))
				total += math.Exp(score)
			}
			for i, w := range weights {
				for j := h * width; j < (h+1)*width; j++ {
					out[t][j] += w / total * qkv[t/seq*seq+i][2*dim+j]
				}
			}
		}
	}
	return out
}

// refLoss is the sum of the cross-entropy of scores, of all or of those that scored names.
func refLoss(scores table, targets []byte, scored []bool) float64 {
	loss := 0.0
	for i, r := range scores {
		if scored != nil && !scored[i] {
			continue
		}
		total := 0.0
		for _, v := range r {
			total += math.Exp(v)
		}
		loss += math.Log(total) - r[targets[i]]
	}
	return loss
}

// refParams is the parameters of one set in float64, tensor by tensor.
type refParams struct {
	set *param.Set
	vec []float64
}

func refOf(set *param.Set) refParams { return refParams{set, wide(set.Value)} }

// vector returns tensor i, and matrix returns it shaped.
func (p refParams) vector(i int) []float64 {
	begin := 0
	for _, t := range p.set.Tensors()[:i] {
		begin += t.Len()
	}
	return p.vec[begin : begin+p.set.Tensors()[i].Len()]
}

func (p refParams) matrix(i int) table {
	shape := p.set.Tensors()[i].Shape
	return tableOf(p.vector(i), shape[len(shape)-1])
}

func refEmbedding(p refParams, tokens []byte, seq int) table {
	x := newTable(len(tokens), len(p.matrix(embedToken)[0]))
	token, position := p.matrix(embedToken), p.matrix(embedPosition)
	for i, t := range tokens {
		for j := range x[i] {
			x[i][j] = token[t][j] + position[i%seq][j]
		}
	}
	return x
}

func refAttention(p refParams, x table, c Config) table {
	normed := refNorm(x, p.vector(attnGain), p.vector(attnBias))
	mixed := refAttend(refLinear(normed, p.matrix(attnQKV), nil), c.Seq, c.Heads, c.Bidirectional)
	return refAdd(x, refLinear(mixed, p.matrix(attnOut), nil))
}

func refFeedForward(p refParams, x table) table {
	normed := refNorm(x, p.vector(ffnGain), p.vector(ffnBias))
	inner := refGELU(refLinear(normed, p.matrix(ffnUp), p.vector(ffnUpBias)))
	return refAdd(x, refLinear(inner, p.matrix(ffnDown), p.vector(ffnDownBias)))
}

func refHead(p refParams, x table, targets []byte, scored []bool) float64 {
	normed := refNorm(x, p.vector(headGain), p.vector(headBias))
	return refLoss(refLinear(normed, p.matrix(headOut), nil), targets, scored)
}

// refModel is the mean loss of a whole model; square stands for its Layers, as squareLayer does.
func refModel(m *Model, sets []refParams, b Batch) float64 {
	x := refEmbedding(sets[0], b.Inputs, m.config.Seq)
	for i, block := range m.blocks {
		x = refAttention(sets[1+2*i], x, m.config)
		if block.ffn != nil {
			x = refFeedForward(sets[2+2*i], x)
			continue
		}
		p := sets[2+2*i]
		x = refAdd(x, refSquare(refNorm(x, p.vector(sparseGain), p.vector(sparseBias))))
	}
	return refHead(sets[len(sets)-1], x, b.Targets, b.Scored) / float64(b.GlobalTokens)
}

func refSquare(x table) table {
	y := newTable(len(x), len(x[0]))
	for i, r := range x {
		for j, v := range r {
			y[i][j] = squareFactor * v * v
		}
	}
	return y
}
