package router

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// leastDeviation keeps learned noise alive, and [LoadLoss] finite. (Shazeer et al.'s code,
// FastMoE.)
const leastDeviation = 0.01

// learnedNoise is a linear gate with a second matrix, which computes the deviation of the noise of
// each logit.
type learnedNoise struct{ linear }

// What learnedNoise and jitteredLogits keep. The last two are gradients, which LoadLoss adds to
// what the logits' own give.
const (
	keptClean      = iota // logits without noise
	keptDeviation         // of each logit's noise
	keptNoise             // the normal numbers
	keptSlope             // derivative of the deviation
	keptDClean            // with respect to the clean logits
	keptDDeviation        // with respect to the deviations
)

// newLearnedNoise has the weights of [newLinear], and a noise matrix of zeros.
func newLearnedNoise(s Shape) learnedNoise {
	gate := newLinear(s).set
	shape := []int{s.Dim, s.Experts}
	set := param.NewSet(param.Tensor{Name: "gate", Shape: shape}, param.Tensor{Name: "noise", Shape: shape})
	copy(set.Value, gate.Value)
	return learnedNoise{linear{set}}
}

func (l learnedNoise) noiseWeights() blas32.General { return l.set.Matrix(l.set.Value, 1) }

func (l learnedNoise) forward(logits blas32.General, in *input) {
	l.linear.forward(logits, in)
	if !in.Train {
		return
	}
	in.noisy = true
	for i := range in.kept {
		in.kept[i].reset(logits.Rows, logits.Cols)
	}
	raw := in.kept[keptSlope].matrix()
	multiply(raw, in.x, l.noiseWeights())
	for t := range logits.Rows {
		l.addNoise(mat.Row(logits, t), in, t)
	}
}

// addNoise makes the noise of token t. Its kept slope is what the noise matrix gives for it.
func (learnedNoise) addNoise(logits []float32, in *input, t int) {
	clean, deviation, noise, slope := in.kept[keptClean].row(t), in.kept[keptDeviation].row(t), in.kept[keptNoise].row(t), in.kept[keptSlope].row(t)
	copy(clean, logits)
	softplus(deviation, slope)
	f32.Sigmoid(slope, slope)
	random := in.noise(t, noiseLogits)
	for e := range logits {
		a, _ := gaussian(&random)
		noise[e] = float32(a)
		deviation[e] += leastDeviation
		logits[e] += float32(noise[e] * deviation[e])
	}
	clear(in.kept[keptDClean].row(t))
	clear(in.kept[keptDDeviation].row(t))
}

func (l learnedNoise) backward(dx, dlogits blas32.General, in *input, firstLeaf int) {
	if !in.noisy {
		l.linear.backward(dx, dlogits, in, firstLeaf)
		return
	}
	clean, raw := in.kept[keptDClean].matrix(), in.kept[keptDDeviation].matrix()
	for t := range dlogits.Rows {
		l.backwardRow(mat.Row(dlogits, t), in, t)
	}
	leaves(l.set, in.x, in.Ends, firstLeaf, clean, raw)
	if dx.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, clean, l.weights(), 1, dx)
		gemm.Gemm(blas.NoTrans, blas.Trans, raw, l.noiseWeights(), 1, dx)
	}
	clear(clean.Data) // only one share of the gradient has them
	clear(raw.Data)
}

// backwardRow completes the gradients of token t with respect to what the two matrices give for it.
func (learnedNoise) backwardRow(dlogits []float32, in *input, t int) {
	noise, slope := in.kept[keptNoise].row(t), in.kept[keptSlope].row(t)
	dclean, draw := in.kept[keptDClean].row(t), in.kept[keptDDeviation].row(t)
	for e, d := range dlogits {
		dclean[e] += d
		draw[e] = (draw[e] + float32(d*noise[e])) * slope[e]
	}
}
