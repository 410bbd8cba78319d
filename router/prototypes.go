package router

import "fmt"

// Prototypes cuts the experts into K runs of equally many, and sends each token to the best expert
// of each run, weighed by the softmax over the run: K independent top-1 choices. (M6-T, Yang et al.
// 2021, expert prototyping; HetuMoE's KTop1.)
type Prototypes struct {
	// K is the number of prototypes; it divides the number of experts.
	K int
	// Renormalize and Scale, CapacityFactor, Capacity and Drop are those of [TopK]. The paper
	// renormalises never.
	Renormalize    Renormalize
	Scale          float32
	CapacityFactor float64
	Capacity       Capacity
	Drop           Drop
	// Losses lists the auxiliary losses. A token's first choice is the one in the first prototype.
	Losses []Loss
}

var _ Router = Prototypes{}

// New is described at [Router].
func (r Prototypes) New(s Shape) (Gate, error) {
	p := overrides{name: "Prototypes", chooser: bestOfEach{}, scoring: softmaxOfEach{r.K}}
	if r.K > 0 && s.Experts%r.K != 0 {
		p.faults = append(p.faults, fmt.Errorf("router: Prototypes: %d prototypes do not divide %d experts", r.K, s.Experts))
	}
	return r.topK().build(s, p)
}

func (r Prototypes) topK() TopK {
	return TopK{
		K: r.K, Score: SoftmaxBefore, Renormalize: r.Renormalize, Scale: r.Scale, Losses: r.Losses,
		CapacityFactor: r.CapacityFactor, Capacity: r.Capacity, Drop: r.Drop,
	}
}

// WeightSum returns the bounds of the sum of the weights of a token that no expert dropped.
func (r Prototypes) WeightSum(experts int) (least, most float64) {
	least, most = r.topK().WeightSum(experts)
	if r.Renormalize == RenormalizeByScore || r.Renormalize == RenormalizeNever {
		// Each prototype has a softmax of its own, of which the largest is chosen.
		most *= float64(r.K)
	}
	return least, most
}

// Bound is described at [TopK.Bound].
func (r Prototypes) Bound(tokens, experts int, train bool) int {
	return r.topK().Bound(tokens, experts, train)
}

type bestOfEach struct{}

func (bestOfEach) forAll() bool { return false }

func (bestOfEach) choose(g *choosing) {
	size := g.experts / g.k
	for i := range g.tokens {
		chosen, logits := g.choices(i), g.logits(i)
		for j := range chosen {
			topK(chosen[j:j+1], logits[j*size:(j+1)*size])
			chosen[j] += int32(j * size)
		}
	}
}

// softmaxOfEach is the softmax over each of the given number of runs of consecutive experts.
type softmaxOfEach struct{ prototypes int }

func (softmaxOfEach) forAll() bool    { return true }
func (softmaxOfEach) normalize() bool { return false }
func (softmaxOfEach) rate() float32   { return 1 } // not used: the best of a run is never tiny

func (s softmaxOfEach) score(dst, logits []float32) {
	size := len(logits) / s.prototypes
	for a := 0; a < len(logits); a += size {
		softmax(dst[a:a+size], logits[a:a+size])
	}
}

func (softmaxOfEach) weigh(raw []float32, t token) { softmaxBefore{}.weigh(raw, t) }

func (s softmaxOfEach) backward(dlogits, draw, dshare []float32, t token) {
	// Shares are the scores divided by their sum, which is the number of prototypes.
	d := t.scratch
	clear(d)
	for e, v := range dshare {
		d[e] = v / float32(s.prototypes)
	}
	for j, e := range t.chosen {
		d[e] += draw[j]
	}
	size := len(dlogits) / s.prototypes
	for a := 0; a < len(dlogits); a += size {
		softmaxBackward(dlogits[a:a+size], t.scores[a:a+size], d[a:a+size])
	}
}
