package router

// ImportanceLoss is the squared coefficient of variation of the experts' importance: E·ΣI²/(ΣI)² −
// 1, Iₑ the sum over the token group's tokens of expert e's weight before drops, without Scale. It
// is 0 if all are alike. Its name is "importance". (Shazeer et al. 2017; Tutel, FastMoE.)
func ImportanceLoss(coefficient float64) Loss { return Loss{"importance", coefficient, importance{}} }

type importance struct{}

func (importance) needs() needs { return needs{weights: true} }

func (importance) value(g *lossGroup) float64 { return variation(g.weights) }

func (importance) shareGrad([]float32, *lossGroup, float64) {}

func (importance) tokenGrad(d tokenGrad, g *lossGroup, t int, scale float64) {
	slope := slopeOfVariation(g.weights)
	for j, e := range g.c.chosen[t*g.k : (t+1)*g.k] {
		if g.c.entry[t*g.k+j] != withdrawn {
			d.weights[j] += float32(scale * slope.at(g.weights[e]))
		}
	}
}

// leastImportance is the sum below which the derivative of variation, some 1/sum, would overflow
// float32.
const leastImportance = 1e-30

// variation is the squared coefficient of variation of x, the variance taken over all of them:
// n·Σx²/(Σx)² − 1. It is 0 if their sum is, or next to it.
func variation(x []float64) float64 {
	sum, squares := moments(x)
	if sum < leastImportance {
		return 0
	}
	return float64(len(x))*squares/(sum*sum) - 1
}

// variationSlope is the derivative of variation in one of its numbers.
type variationSlope struct{ factor, centre float64 }

// slopeOfVariation returns the derivative at x.
func slopeOfVariation(x []float64) variationSlope {
	sum, squares := moments(x)
	if sum < leastImportance {
		return variationSlope{}
	}
	return variationSlope{2 * float64(len(x)) / (sum * sum), squares / sum}
}

// at returns the derivative in a number of value v.
func (s variationSlope) at(v float64) float64 { return s.factor * (v - s.centre) }

func moments(x []float64) (sum, squares float64) {
	for _, v := range x {
		sum += v
		squares += float64(v * v)
	}
	return sum, squares
}
