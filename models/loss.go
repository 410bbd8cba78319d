package models

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"
)

// BalanceLoss returns the auxiliary loss of the model, before its coefficient, for the router
// logits of each block, tokens × experts: with f the share of choices of each expert and P its mean
// softmax probability, both over the tokens of all blocks together, it is Experts·Σ f·P. (The
// load_balancing_loss_func of transformers. A loss for each block, which papers define, is another
// number: see [github.com/switchyard-moe/switchyard/router.Balance].) The choices are those of the
// k largest logits. mask, if it is not nil, tells which tokens count.
func (m *Model) BalanceLoss(logits []blas32.General, mask []bool) (float64, error) {
	experts, k := m.Blocks[0].Experts, m.Blocks[0].Routing.TopK
	if m.Loss == 0 {
		return 0, fmt.Errorf("models: a %s model has no auxiliary loss", m.Type)
	}
	chosen, share, tokens := make([]float64, experts), make([]float64, experts), 0
	for i, l := range logits {
		if l.Cols != experts || mask != nil && len(mask) != l.Rows {
			return 0, fmt.Errorf("models: BalanceLoss: logits %d are %d × %d for %d experts and a mask of %d tokens", i, l.Rows, l.Cols, experts, len(mask))
		}
		for t := range l.Rows {
			if mask == nil || mask[t] {
				row := l.Data[t*l.Stride : t*l.Stride+l.Cols]
				count(chosen, row, k)
				addSoftmax(share, row)
				tokens++
			}
		}
	}
	sum := 0.0
	for e := range chosen {
		sum += chosen[e] * share[e]
	}
	if tokens == 0 {
		return 0, nil
	}
	return float64(experts) * sum / float64(tokens) / float64(tokens), nil
}

// count adds 1 to each of the k largest of row; of equal ones the first is chosen.
func count(chosen []float64, row []float32, k int) {
	order := make([]int, len(row))
	for e := range order {
		order[e] = e
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(row[b], row[a]) })
	for _, e := range order[:min(k, len(order))] {
		chosen[e]++
	}
}

// addSoftmax adds the softmax of row to share.
func addSoftmax(share []float64, row []float32) {
	top, sum := float64(slices.Max(row)), 0.0
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	for e, v := range row {
		share[e] += math.Exp(float64(v)-top) / sum
	}
}
