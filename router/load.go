package router

import (
	"errors"
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// LoadLoss is the squared coefficient of variation of the experts' expected loads: E·ΣL²/(ΣL)² − 1,
// Lₑ the sum over the tokens of the probability that expert e would be among the k best if its
// noise alone were drawn again, Φ((cleanₑ − threshold)/deviation); the threshold is the k-th
// largest of the other experts' noisy logits. It goes with [NoisyTopK] and Gaussian noise. Without
// noise, in evaluation, the probabilities are 0 and 1, and there is no gradient. Its name is
// "load". (Shazeer et al. 2017; Tutel, FastMoE.)
func LoadLoss(coefficient float64) Loss { return Loss{"load", coefficient, load{}} }

type load struct{}

func (load) needs() needs { return needs{noise: true} }

// value leaves the loads in the token group's loads.
func (l load) value(g *lossGroup) float64 {
	loads := g.c.loadsOf(g.group)
	for e := range loads {
		loads[e] = float64(g.counts[e])
	}
	if g.c.in.noisy && g.k < len(loads) {
		clear(loads)
		for t := g.begin; t < g.end; t++ {
			others := l.othersOf(g.c, t)
			for e := range loads {
				loads[e] += normalCDF(others.margin(e))
			}
		}
	}
	return variation(loads)
}

func (load) shareGrad([]float32, *lossGroup, float64) {}

func (l load) tokenGrad(d tokenGrad, g *lossGroup, t int, scale float64) {
	if !g.c.in.noisy || g.k == len(g.counts) {
		return
	}
	slope := slopeOfVariation(g.c.loadsOf(g.group))
	others, loads := l.othersOf(g.c, t), g.c.loadsOf(g.group)
	for e := range loads {
		margin := others.margin(e)
		f := scale * slope.at(loads[e]) * bell(margin) / others.deviationOf(e)
		others.add(d.logits, e, f, margin)
	}
}

// others has the terms of the load of one token's experts.
type others struct {
	noisy, clean, deviation []float32
	dclean, ddeviation      []float32
	fixed                   float64 // deviation of all, if it is not learned
	chosen                  []int32
	next                    int32 // the best expert that was not chosen
}

// othersOf returns those of token t.
func (load) othersOf(c *choices, t int) others {
	r := c.rowOf(t)
	o := others{noisy: c.logits.row(t), clean: c.in.kept[keptClean].row(r), fixed: c.owner.deviation}
	if o.fixed == 0 {
		o.deviation = c.in.kept[keptDeviation].row(r)
		o.dclean, o.ddeviation = c.in.kept[keptDClean].row(r), c.in.kept[keptDDeviation].row(r)
	} else {
		o.dclean = c.in.kept[keptDClean].row(r)
	}
	c.best = mat.Reuse(c.best, c.k+1)
	topK(c.best, o.noisy)
	o.chosen, o.next = c.best[:c.k], c.best[c.k]
	return o
}

// rival returns the expert whose noisy logit expert e must exceed.
func (o *others) rival(e int) int32 {
	for _, c := range o.chosen {
		if int(c) == e {
			return o.next
		}
	}
	return o.chosen[len(o.chosen)-1]
}

func (o *others) deviationOf(e int) float64 {
	if o.deviation == nil {
		return o.fixed
	}
	return float64(o.deviation[e])
}

// margin is the number of deviations by which expert e exceeds its rival without noise.
func (o *others) margin(e int) float64 {
	return (float64(o.clean[e]) - float64(o.noisy[o.rival(e)])) / o.deviationOf(e)
}

// add adds the gradient of expert e's load, f with respect to its clean logit.
func (o *others) add(dnoisy []float32, e int, f, margin float64) {
	o.dclean[e] += float32(f)
	dnoisy[o.rival(e)] -= float32(f)
	if o.ddeviation != nil {
		o.ddeviation[e] -= float32(f * margin)
	}
}

// bell is the density of the normal distribution.
func bell(z float64) float64 {
	e := [1]float32{float32(-z * z / 2)}
	f32.Exp(e[:], e[:])
	return float64(e[0]) * (1 / (math.Sqrt2 * math.SqrtPi))
}

// normalCDF is the normal distribution's, to about 1e-7. Its series, Φ(z) = ½ + φ(z)·Σ
// z^(2n+1)/(1·3·…·(2n+1)), has terms of one sign, and the same bits on every processor, as
// [math.Erf] has not.
func normalCDF(z float64) float64 {
	if math.Abs(z) > 8 {
		if z > 0 {
			return 1
		}
		return 0
	}
	term, sum := z, z
	for n := 3.0; math.Abs(term) > 1e-17*math.Abs(sum); n += 2 {
		term = float64(term * (z * z / n))
		sum += term
	}
	return 0.5 + float64(bell(z)*sum)
}

// checkNoise returns an error for losses that need Gaussian noise if there is none.
func checkNoise(losses []Loss, gaussian bool) (faults []error) {
	for _, l := range losses {
		if l.term != nil && l.term.needs().noise && !gaussian {
			faults = append(faults, errors.New("router: loss \""+l.name+"\" goes with NoisyTopK and Gaussian noise"))
		}
	}
	return faults
}
