package workload

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/switchyard-moe/switchyard/router"
)

// Load is how the tokens of a benchmark choose experts: the same on every rank for the same step.
type Load struct {
	// Name is one of LoadNames.
	Name string
	// Experts is their number over all Ranks, to which they are spread evenly in order, and K how
	// many a token has.
	Experts, K, Ranks int
	// Skew is what a lognormal load has: the rows of the busiest rank as a multiple of the mean.
	Skew float64
	// Trace is the file of a trace, as -record of examples/train writes it.
	Trace string

	popularity []float64 // logarithms; of loads that are drawn
	trace      *trace
}

// LoadNames lists the loads: all experts alike; in proportion to (e+1)^−1.2; expert 0 a third of
// all choices (of a token for one expert; at most one of each token's), the others alike;
// popularities drawn from a lognormal distribution; and the routes of a trained layer.
func LoadNames() []string { return []string{"even", "zipf", "hot", "lognormal", "trace"} }

// Open checks the load, and reads or computes what its choices come from.
func (l *Load) Open() (err error) {
	if l.K < 1 || l.K > l.Experts || l.Ranks < 1 {
		return fmt.Errorf("load of %d experts for each token, of %d on %d ranks", l.K, l.Experts, l.Ranks)
	}
	switch l.Name {
	case "even", "hot":
		if l.Name == "hot" && l.K == l.Experts {
			return errors.New("a hot load needs more experts than a token has")
		}
	case "zipf":
		l.popularity = make([]float64, l.Experts)
		for e := range l.popularity {
			l.popularity[e] = -1.2 * math.Log(float64(e+1))
		}
	case "lognormal":
		l.popularity, err = l.lognormal()
	case "trace":
		l.trace, err = openTrace(l.Trace, l.Experts)
	default:
		err = fmt.Errorf("load %q: want one of %v", l.Name, LoadNames())
	}
	return err
}

// Decide returns the decision of a step for the tokens of a rank, all weights alike.
func (l *Load) Decide(rank, step, tokens int) *router.Decision {
	if l.trace != nil {
		return decision(l.Experts, l.trace.choices((step*l.Ranks+rank)*tokens, tokens))
	}
	choices, random := make([][]int32, tokens), l.random(rank, step)
	for t := range choices {
		choices[t] = l.choose(t, random)
	}
	return decision(l.Experts, choices)
}

func (l *Load) random(rank, step int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(step)+1, uint64(rank)))
}

// choose returns the experts of token t.
func (l *Load) choose(t int, random *rand.Rand) []int32 {
	switch l.Name {
	case "even":
		return inTurn(t*l.K, l.K, l.Experts)
	case "hot":
		share := min(float64(l.K)/3, 1)
		before, after := int(float64(t)*share), int(float64(t+1)*share) // tokens with the hot expert
		list := others(inTurn(t*l.K-before, l.K-(after-before), l.Experts-1))
		if after > before {
			list = append(list, 0)
		}
		return list
	}
	return mostPopular(l.popularity, l.K, random)
}

// inTurn deals n of the experts, from number at on.
func inTurn(at, n, experts int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32((at + i) % experts)
	}
	return list
}

// others are the numbers of experts without the first.
func others(list []int32) []int32 {
	for i := range list {
		list[i]++
	}
	return list
}

// mostPopular draws k different experts, each in proportion to its popularity among those that are
// left: the largest of the logarithms with Gumbel noise.
func mostPopular(popularity []float64, k int, random *rand.Rand) []int32 {
	noisy := make([]float64, len(popularity))
	list := make([]int32, len(popularity))
	for e, p := range popularity {
		noisy[e] = p - math.Log(random.ExpFloat64())
		list[e] = int32(e)
	}
	slices.SortFunc(list, func(a, b int32) int { return compare(noisy[b], noisy[a]) })
	return slices.Clone(list[:k])
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// decision makes one of the experts of each token.
func decision(experts int, choices [][]int32) *router.Decision {
	d := &router.Decision{Losses: map[string]float64{}, GroupLoss: []float64{0}, GroupCapacity: []int{math.MaxInt}}
	d.Tokens, d.Experts = len(choices), experts
	of := make([][]int32, experts)
	for t, list := range choices {
		for _, e := range list {
			of[e] = append(of[e], int32(t))
		}
	}
	for _, tokens := range of {
		d.Token = append(d.Token, tokens...)
		d.Ends, d.Counts = append(d.Ends, len(d.Token)), append(d.Counts, len(tokens))
	}
	d.Weight = make([]float32, len(d.Token))
	for i, t := range d.Token {
		d.Weight[i] = 1 / float32(len(choices[t]))
	}
	return d
}
