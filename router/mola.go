package router

import "fmt"

// MoLA is a number of experts for each layer of a model: the layers are cut into as many stages as
// there are numbers, of equal size to within one layer, the first of them a layer larger where it
// does not come out even. MoLA{2, 4, 6, 8} over 32 layers is 2 experts in the first eight and 8 in
// the last, which the paper found best: higher layers need more experts.
//
// (Gao et al. 2024. Its experts are LoRA adapters; the numbers go with any.)
type MoLA []int

// Experts returns the number of experts of a layer, counted from 0.
func (m MoLA) Experts(layer, layers int) int {
	if layer < 0 || layer >= layers || layers < len(m) || len(m) == 0 {
		panic(fmt.Sprintf("router: MoLA: layer %d of %d with %d stages", layer, layers, len(m)))
	}
	size, larger := layers/len(m), layers%len(m)
	if begin := larger * (size + 1); layer >= begin {
		return m[larger+(layer-begin)/size]
	}
	return m[layer/(size+1)]
}

// Router returns the paper's gate for a layer with the given number of experts: softmax over all,
// of which each token keeps the best k, or all if there are fewer, renormalised.
func (m MoLA) Router(k, experts int) TopK {
	return TopK{K: min(k, experts), Score: SoftmaxBefore, Renormalize: RenormalizeBeforeDrop}
}
