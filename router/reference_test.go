package router

import (
	"cmp"
	"math"
	"slices"
)

// reference is TopK's rule in float64, written to be read: nothing is shared with the gate but the
// configuration.
type reference struct {
	TopK
	experts int
	ends    []int
	chosen  [][]int // of each token, the best first
	kept    [][]bool

	choose func(logits []float64) []int // in place of the K best
	run    int                          // the experts over which each softmax goes, if not over all
}

// scoresOf returns the scores of all experts.
func (r *reference) scoresOf(logits []float64) []float64 {
	if r.run != 0 && len(logits) > r.run {
		return append(r.scoresOf(logits[:r.run]), r.scoresOf(logits[r.run:])...)
	}
	s := make([]float64, len(logits))
	total := 0.0
	for e, v := range logits {
		switch r.Score {
		case Sigmoid:
			s[e] = 1 / (1 + math.Exp(-v))
		case SqrtSoftplus:
			s[e] = math.Sqrt(math.Log1p(math.Exp(v)))
		default:
			s[e] = math.Exp(v)
		}
		total += s[e]
	}
	if r.Score != Sigmoid && r.Score != SqrtSoftplus {
		for e := range s {
			s[e] /= total
		}
	}
	return s
}

// weigh returns the weights of token t's chosen experts up to the drop.
func (r *reference) weigh(logits []float64, t int) []float64 {
	w, all := make([]float64, r.K), r.scoresOf(logits)
	total := 0.0
	for j, e := range r.chosen[t] {
		if w[j] = all[e]; r.Score == SoftmaxAfter {
			w[j] = math.Exp(logits[e])
		}
		total += w[j]
	}
	if r.Score == SoftmaxAfter || r.Renormalize == RenormalizeBeforeDrop ||
		r.Renormalize == RenormalizeByScore && (r.Score == Sigmoid || r.Score == SqrtSoftplus) && r.K > 1 {
		for j := range w {
			w[j] /= total
		}
	}
	return w
}

// final returns the weights after the drop; those dropped are 0.
func (r *reference) final(logits []float64, t int) []float64 {
	w, total := r.weigh(logits, t), 0.0
	for j := range w {
		if !r.kept[t][j] {
			w[j] = 0
		}
		total += w[j]
	}
	for j := range w {
		if r.Renormalize == RenormalizeAfterDrop && total > 0 {
			w[j] /= total
		}
		w[j] *= float64(r.Scale)
	}
	return w
}

// decide fixes choices and drops.
func (r *reference) decide(logits [][]float64) {
	r.chosen, r.kept = nil, nil
	for _, row := range logits {
		if r.choose != nil {
			r.chosen = append(r.chosen, r.choose(row))
		} else {
			r.chosen = append(r.chosen, descending(row)[:r.K])
		}
		r.kept = append(r.kept, make([]bool, r.K))
	}
	begin := 0
	for _, end := range r.ends {
		for e := range r.experts {
			r.keep(logits, begin, end, e)
		}
		begin = end
	}
}

// descending returns the indices of x, those of the largest first.
func descending(x []float64) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[b], x[a]) })
	return order
}

// keep decides which tokens of a token group expert e keeps.
func (r *reference) keep(logits [][]float64, begin, end, e int) {
	var queue []int
	weight := func(t int) float64 { return r.weigh(logits[t], t)[slices.Index(r.chosen[t], e)] }
	for t := begin; t < end; t++ {
		if slices.Contains(r.chosen[t], e) {
			queue = append(queue, t)
		}
	}
	choice := func(t int) int { return slices.Index(r.chosen[t], e) }
	best := func(t int) float64 {
		if r.Score == SoftmaxAfter {
			return slices.Max(r.weigh(logits[t], t))
		}
		return slices.Max(r.scoresOf(logits[t]))
	}
	slices.SortStableFunc(queue, func(a, b int) int {
		switch r.Drop {
		case ByProbability:
			return cmp.Compare(weight(b), weight(a))
		case ByChoice:
			return cmp.Compare(choice(a), choice(b))
		case ByPriority:
			return cmp.Or(cmp.Compare(choice(a), choice(b)), cmp.Compare(best(b), best(a)))
		}
		return 0
	})
	room := len(queue)
	if r.CapacityFactor > 0 {
		room = min(room, int(math.Ceil(float64((end-begin)*r.K)/float64(r.experts)*r.CapacityFactor)))
	}
	for _, t := range queue[:room] {
		r.kept[t][slices.Index(r.chosen[t], e)] = true
	}
}

// groupLoss returns each loss of the tokens [begin, end), by name.
func (r *reference) groupLoss(logits [][]float64, begin, end int) map[string]float64 {
	n := float64(end - begin)
	counts, firsts, sums := r.tally(logits, begin, end)
	z, importance := 0.0, make([]float64, r.experts)
	for t := begin; t < end; t++ {
		exps := 0.0
		for _, v := range logits[t] {
			exps += math.Exp(v)
		}
		z += math.Log(exps) * math.Log(exps) / n
		for j, w := range r.weigh(logits[t], t) {
			importance[r.chosen[t][j]] += w
		}
	}
	all, _, _ := r.tally(logits, 0, len(logits))
	loss := map[string]float64{"z": z, "importance": squaredVariation(importance)}
	e, k := float64(r.experts), float64(r.K)
	for i, p := range sums {
		loss["balance"] += e / (k * n * n) * counts[i] * p
		loss["switch"] += e / (n * n) * firsts[i] * p
		loss["global"] += e / (k * n * float64(len(logits))) * all[i] * p
	}
	loss["sequence"] = r.sequences(logits, begin, end)
	return loss
}

// sequenceLength is what the sequence loss of tests has.
const sequenceLength = 3

// sequences is the mean of the balance loss over the sequences of [begin, end).
func (r *reference) sequences(logits [][]float64, begin, end int) float64 {
	sum, sequences := 0.0, 0.0
	for ; begin < end; begin += sequenceLength {
		stop := min(begin+sequenceLength, end)
		counts, _, sums := r.tally(logits, begin, stop)
		if r.Bias != nil {
			clear(counts)
			for _, row := range logits[begin:stop] {
				for _, e := range descending(row)[:r.K] {
					counts[e]++
				}
			}
		}
		n := float64(stop - begin)
		for i, p := range sums {
			sum += float64(r.experts) / (float64(r.K) * n * n) * counts[i] * p
		}
		sequences++
	}
	return sum / sequences
}

// tally returns for each expert how many of the tokens [begin, end) chose it, chose it first, and
// the sum of their shares.
func (r *reference) tally(logits [][]float64, begin, end int) (counts, firsts, sums []float64) {
	counts, firsts, sums = make([]float64, r.experts), make([]float64, r.experts), make([]float64, r.experts)
	for t := begin; t < end; t++ {
		s, total := r.scoresOf(logits[t]), 0.0
		for _, v := range s {
			total += v
		}
		for e, v := range s {
			sums[e] += v / total
		}
		for _, e := range r.chosen[t] {
			counts[e]++
		}
		firsts[r.chosen[t][0]]++
	}
	return counts, firsts, sums
}

// squaredVariation is variance over squared mean.
func squaredVariation(x []float64) float64 {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	return variance / (mean * mean)
}

// total is what the gradient is of: Σ upstream·weight + Σ scale·loss, over tokens, choices and
// token groups.
func (r *reference) total(logits [][]float64, upstream [][]float64, scale []float32) float64 {
	total := 0.0
	for t, row := range logits {
		for j, w := range r.final(row, t) {
			total += w * upstream[t][j]
		}
	}
	begin := 0
	for g, end := range r.ends {
		if begin < end {
			losses := r.groupLoss(logits, begin, end)
			for _, l := range r.Losses {
				total += float64(scale[g]) * l.coefficient * losses[l.name]
			}
		}
		begin = end
	}
	return total
}
