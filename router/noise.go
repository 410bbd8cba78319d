package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Noise says what a gate adds in training so that tokens try other experts too. In evaluation there
// is none.
type Noise int

const (
	// LearnedGaussian adds to each logit a normal number times a deviation of its own,
	// softplus(x·Wₙ) + 0.01. Wₙ is a second matrix, "noise", which begins at 0 and is trained.
	// Weights are of the noisy logits. (Shazeer et al. 2017; GShard; FastMoE's noisy gate.)
	LearnedGaussian Noise = iota
	// FixedGaussian adds to each logit a normal number times Amount. Weights are of the noisy
	// logits. (Tutel's gate noise, where Amount is the noise divided by the number of experts.)
	FixedGaussian
	// Gumbel adds to each logit Amount times a number of the standard Gumbel distribution, for the
	// choice alone, so that at 1 experts are drawn in proportion to their softmax. Weights are of
	// the logits without it. (DeepSpeed's RSample.)
	Gumbel
	// JitterTokens multiplies each element of the token, for the gate alone, by a number drawn
	// evenly from 1 − Amount to 1 + Amount. (Switch; DeepSpeed's Jitter, Megatron, MegaBlocks.)
	JitterTokens
	// JitterLogits adds to each logit a number drawn evenly from −Amount to Amount. (FastMoE's
	// Switch gate.)
	JitterLogits

	noises int = iota
)

// String returns the noise's name.
func (n Noise) String() string {
	names := [...]string{"learned Gaussian", "fixed Gaussian", "Gumbel", "jitter of tokens", "jitter of logits"}
	if n < 0 || int(n) >= len(names) {
		return fmt.Sprintf("Noise(%d)", int(n))
	}
	return names[n]
}

// jitteredLogits is a linear gate with a random number added to each logit.
type jitteredLogits struct {
	linear
	amount float64
	normal bool
}

func (l jitteredLogits) forward(logits blas32.General, in *input) {
	l.linear.forward(logits, in)
	if !in.Train {
		return
	}
	if in.noisy = l.normal && l.amount > 0; in.noisy {
		l.keep(logits, in)
	}
	for t := range logits.Rows {
		random := in.noise(t, noiseLogits)
		dst := mat.Row(logits, t)
		for e := 0; e < len(dst); e += 2 {
			a, b := 2*uniform(&random)-1, 2*uniform(&random)-1
			if l.normal {
				a, b = gaussian(&random)
			}
			dst[e] += float32(a * l.amount)
			if e+1 < len(dst) {
				dst[e+1] += float32(b * l.amount)
			}
		}
	}
}

// keep keeps the logits without noise, and makes room for their gradient, for [LoadLoss].
func (jitteredLogits) keep(logits blas32.General, in *input) {
	clean, d := &in.kept[keptClean], &in.kept[keptDClean]
	clean.reset(logits.Rows, logits.Cols)
	d.reset(logits.Rows, logits.Cols)
	copy(clean.data, logits.Data)
	clear(d.data)
}

func (l jitteredLogits) backward(dx, dlogits blas32.General, in *input, firstLeaf int) {
	if in.noisy {
		f32.Add(dlogits.Data, in.kept[keptDClean].data)
		clear(in.kept[keptDClean].data) // only one share of the gradient has it
	}
	l.linear.backward(dx, dlogits, in, firstLeaf)
}

// jitteredTokens is a linear gate that sees each element of a token times a random number. It keeps
// those, and the jittered tokens; the third is scratch.
type jitteredTokens struct {
	linear
	amount float64
}

func (l jitteredTokens) forward(logits blas32.General, in *input) {
	if !in.Train {
		l.linear.forward(logits, in)
		return
	}
	factor, jittered := &in.kept[0], &in.kept[1]
	factor.reset(in.x.Rows, in.x.Cols)
	jittered.reset(in.x.Rows, in.x.Cols)
	for t := range in.x.Rows {
		random, f, dst := in.noise(t, noiseTokens), factor.row(t), jittered.row(t)
		for i, v := range mat.Row(in.x, t) {
			f[i] = float32(1 + float64((2*uniform(&random)-1)*l.amount))
			dst[i] = v * f[i]
		}
	}
	multiply(logits, jittered.matrix(), l.weights())
}

func (l jitteredTokens) backward(dx, dlogits blas32.General, in *input, firstLeaf int) {
	if !in.Train {
		l.linear.backward(dx, dlogits, in, firstLeaf)
		return
	}
	factor, jittered := &in.kept[0], &in.kept[1]
	leaves(l.set, jittered.matrix(), in.Ends, firstLeaf, dlogits)
	if dx.Rows == 0 {
		return
	}
	in.kept[2].reset(dx.Rows, dx.Cols)
	d := in.kept[2].matrix()
	gemm.Gemm(blas.NoTrans, blas.Trans, dlogits, l.weights(), 0, d)
	for t := range dx.Rows {
		f32.Mul(mat.Row(d, t), mat.Row(d, t), factor.row(t))
		f32.Add(mat.Row(dx, t), mat.Row(d, t))
	}
}
