package router

import (
	"cmp"
	"math"
	"slices"
)

// reference is TopK's rule in float64, written to be read: nothing is shared with the gate but the configuration.
type reference struct {
	TopK
	experts int
	ends    []int
	chosen  [][]int // of each token, the best first
	kept    [][]bool
}

// scoresOf returns the scores of all experts.
func (r *reference) scoresOf(logits []float64) []float64 {
	s := make([]float64, len(logits))
	total := 0.0
	for e, v := range logits {
		if s[e] = math.Exp(v); r.Score == Sigmoid {
			s[e] = 1 / (1 + math.Exp(-v))
		}
		total += s[e]
	}
	if r.Score != Sigmoid {
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
		r.Renormalize == RenormalizeByScore && r.Score == Sigmoid && r.K > 1 {
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
		order := make([]int, r.experts)
		for e := range order {
			order[e] = e
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(row[b], row[a]) })
		r.chosen = append(r.chosen, order[:r.K])
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

// keep decides which tokens of a group expert e keeps.
func (r *reference) keep(logits [][]float64, begin, end, e int) {
	var queue []int
	weight := func(t int) float64 { return r.weigh(logits[t], t)[slices.Index(r.chosen[t], e)] }
	for t := begin; t < end; t++ {
		if slices.Contains(r.chosen[t], e) {
			queue = append(queue, t)
		}
	}
	if r.Drop == ByProbability {
		slices.SortStableFunc(queue, func(a, b int) int { return cmp.Compare(weight(b), weight(a)) })
	}
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
	counts, sums, z := make([]float64, r.experts), make([]float64, r.experts), 0.0
	for t := begin; t < end; t++ {
		s, total, exps := r.scoresOf(logits[t]), 0.0, 0.0
		for e, v := range s {
			total += v
			exps += math.Exp(logits[t][e])
		}
		for e, v := range s {
			sums[e] += v / total
		}
		for _, e := range r.chosen[t] {
			counts[e]++
		}
		z += math.Log(exps) * math.Log(exps) / n
	}
	balance := 0.0
	for e := range sums {
		balance += float64(r.experts) / (float64(r.K) * n * n) * counts[e] * sums[e]
	}
	return map[string]float64{"balance": balance, "z": z}
}

// total is what the gradient is of: Σ upstream·weight + Σ scale·loss, over tokens, places and groups.
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
