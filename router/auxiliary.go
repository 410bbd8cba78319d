package router

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// auxiliary is the routers that guess, from a token alone, which experts of its modality take it:
// see [Modality.Aux].
type auxiliary struct {
	gate        *expertChoice
	coefficient float64
	hidden      int

	dguess, dhidden grid
	rows            grid // one modality's tokens of a token group
}

// auxPass is what the auxiliary routers remember of a batch.
type auxPass struct {
	pre, act grid // tokens × hidden, each by its own modality's router
	logits   grid // tokens × experts
	guess    []float32
}

// auxHidden is the number of hidden units.
func auxHidden(dim int) int { return max(dim/2, 1) }

func newAuxiliary(g *expertChoice, s Shape, coefficient float64) *auxiliary {
	a := &auxiliary{gate: g, coefficient: coefficient, hidden: auxHidden(s.Dim)}
	for m := range g.classes {
		drawUniform(g.set, a.in(m), s.Dim, s.Seed, 0x3b00+uint64(m))
		drawUniform(g.set, a.out(m), a.hidden, s.Seed, 0x3c00+uint64(m))
	}
	return a
}

// in and out number the tensors of modality m's router.
func (a *auxiliary) in(m int) int  { return a.gate.classes + m }
func (a *auxiliary) out(m int) int { return 2*a.gate.classes + m }

// each calls do for every modality with its tokens among rows [begin, end), if there are any.
func (a *auxiliary) each(c *election, begin, end int, do func(m int, tokens []int32)) {
	var tokens []int32
	for m := range a.gate.classes {
		tokens = tokens[:0]
		for t := begin; t < end; t++ {
			if c.class[t] == int32(m) {
				tokens = append(tokens, int32(t))
			}
		}
		if len(tokens) > 0 {
			do(m, tokens)
		}
	}
}

// gather returns the rows of x of the given tokens, in memory that the next call uses again.
func (a *auxiliary) gather(x blas32.General, tokens []int32) blas32.General {
	a.rows.reset(len(tokens), x.Cols)
	for i, t := range tokens {
		copy(a.rows.row(i), mat.Row(x, int(t)))
	}
	return a.rows.matrix()
}

// forward fills the pass.
func (a *auxiliary) forward(c *election, x blas32.General) {
	p := &c.aux
	p.pre.reset(c.tokens, a.hidden)
	p.act.reset(c.tokens, a.hidden)
	p.logits.reset(c.tokens, a.gate.experts)
	clear(p.pre.data)
	clear(p.logits.data)
	set := a.gate.set
	a.each(c, 0, c.tokens, func(m int, tokens []int32) {
		rows := a.gather(x, tokens)
		var pre, logits grid
		pre.reset(len(tokens), a.hidden)
		gemm.Gemm(blas.NoTrans, blas.NoTrans, rows, set.Matrix(set.Value, a.in(m)), 0, pre.matrix())
		for i, t := range tokens {
			copy(p.pre.row(int(t)), pre.row(i))
		}
		f32.SiLU(pre.data, pre.data)
		cols := a.gate.columns[m]
		logits.reset(len(tokens), cols.count)
		gemm.Gemm(blas.NoTrans, blas.NoTrans, pre.matrix(), set.Matrix(set.Value, a.out(m)), 0, logits.matrix())
		for i, t := range tokens {
			copy(p.act.row(int(t)), pre.row(i))
			copy(p.logits.row(int(t))[cols.first:], logits.row(i))
		}
	})
	if c.err == nil {
		c.err = checkFinite(&p.logits, c.ends)
	}
	p.guess = mat.Reuse(p.guess, len(p.logits.data))
	f32.Sigmoid(p.guess, p.logits.data)
}

// choose marks what the routers guess.
func (a *auxiliary) choose(c *election) {
	for t, class := range c.class {
		for e, guess := range c.aux.guess[t*a.gate.experts : (t+1)*a.gate.experts] {
			if a.gate.class[e] == class && guess > 0.5 {
				c.taken[e*c.tokens+t] = true
			}
		}
	}
}

// measure adds the loss to the decision.
func (a *auxiliary) measure(c *election) {
	real, total, begin := 0, 0.0, 0
	for g, end := range c.ends {
		loss, n := 0.0, 0
		for t := begin; t < end; t++ {
			if c.class[t] != none {
				loss += a.tokenLoss(c, t)
				n++
			}
		}
		if n > 0 {
			c.d.GroupLoss[g] = a.coefficient * loss / float64(n)
		}
		total += float64(a.coefficient * loss)
		real, begin = real+n, end
	}
	c.d.Losses["auxiliary"] = total / float64(max(real, 1))
}

// tokenLoss is the mean binary cross-entropy of a token over its modality's experts. That of logit
// z against the truth y is ln(1+e^-|z|) + max(z, 0) − y·z.
func (a *auxiliary) tokenLoss(c *election, t int) float64 {
	cols := a.gate.columns[c.class[t]]
	logits := c.aux.logits.row(t)[cols.first : cols.first+cols.count]
	loss := 0.0
	for i, z := range logits {
		odds := [1]float32{-max(z, -z)}
		f32.Exp(odds[:], odds[:])
		loss += ln(1+float64(odds[0])) + float64(max(z, 0))
		if c.taken[(cols.first+i)*c.tokens+t] {
			loss -= float64(z)
		}
	}
	return loss / float64(cols.count)
}

// backward writes the gradient of one token group's loss into the leaf. The group has tokens.
func (a *auxiliary) backward(c *election, x blas32.General, begin, end int, leaf []float32, scale float32) {
	n := 0
	for _, class := range c.class[begin:end] {
		if class != none {
			n++
		}
	}
	set := a.gate.set
	a.each(c, begin, end, func(m int, tokens []int32) {
		a.guessGradient(c, m, tokens, float64(scale)*a.coefficient/float64(n))
		a.dhidden.reset(len(tokens), a.hidden)
		gemm.Gemm(blas.NoTrans, blas.Trans, a.dguess.matrix(), set.Matrix(set.Value, a.out(m)), 0, a.dhidden.matrix())
		for i, t := range tokens {
			f32.SiLUGrad(a.dhidden.row(i), c.aux.pre.row(int(t)), a.dhidden.row(i))
		}
		gemm.Gemm(blas.Trans, blas.NoTrans, a.gather(c.aux.act.matrix(), tokens), a.dguess.matrix(), 0, set.Matrix(leaf, a.out(m)))
		gemm.Gemm(blas.Trans, blas.NoTrans, a.gather(x, tokens), a.dhidden.matrix(), 0, set.Matrix(leaf, a.in(m)))
	})
}

// guessGradient fills dguess, tokens × experts of modality m, with the gradient with respect to the
// logits: guess − truth.
func (a *auxiliary) guessGradient(c *election, m int, tokens []int32, scale float64) {
	cols := a.gate.columns[m]
	a.dguess.reset(len(tokens), cols.count)
	for i, t := range tokens {
		for j := range cols.count {
			e := cols.first + j
			d := float64(c.aux.guess[int(t)*a.gate.experts+e])
			if c.taken[e*c.tokens+int(t)] {
				d--
			}
			a.dguess.row(i)[j] = float32(d * scale / float64(cols.count))
		}
	}
}
