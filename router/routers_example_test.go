package router_test

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// The gate of DeepSeek-V3: 8 of 256 experts, out of 4 of 8 expert groups; sigmoid scores, whose
// bias is moved after each step in place of a loss; a small loss for each sequence of 4096 tokens;
// weights that sum to 2.5.
func ExampleGroupLimited() {
	deepSeekV3 := router.GroupLimited{
		TopK: router.TopK{
			K: 8, Score: router.Sigmoid, BiasRate: 0.001, Scale: 2.5,
			Losses: []router.Loss{router.SequenceBalance(0.0001, 4096)},
		},
		Groups: 8, Keep: 4, GroupScore: router.GroupTopTwo,
	}
	gate, err := deepSeekV3.New(router.Shape{Dim: 4, Experts: 256})
	if err != nil {
		panic(err)
	}
	token := blas32.General{Rows: 1, Cols: 4, Stride: 4, Data: []float32{1, 0, -1, 2}}
	d, err := gate.Route(token, router.Batch{Ends: []int{1}})
	if err != nil {
		panic(err)
	}
	groups, sum := map[int]bool{}, float32(0)
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			groups[e/32], sum = true, sum+d.Weight[i]
		}
	}
	fmt.Printf("%d experts in no more than 4 groups: %v; weights sum to %.1f\n", len(d.Token), len(groups) <= 4, sum)
	// Output: 8 experts in no more than 4 groups: true; weights sum to 2.5
}

// A gate with learned noise and the losses of its paper. In evaluation, with Train false, there
// is no noise.
func ExampleNoisyTopK() {
	_, err := router.NoisyTopK{TopK: router.TopK{
		K: 2, Losses: []router.Loss{router.ImportanceLoss(0.1), router.LoadLoss(0.1)},
	}}.New(router.Shape{Dim: 4, Experts: 8})
	fmt.Println(err)
	// Output: <nil>
}

// What Tutel does at a capacity factor of −1.25: at most as much as its formula gives, and no
// more than is needed; the least certain tokens are dropped.
func ExampleCapacity() {
	tutel := router.TopK{
		K: 2, CapacityFactor: 1.25, Drop: router.ByPriority,
		Capacity: router.Capacity{Formula: router.TutelCapacity, Capped: true, EvalFactor: 2},
	}
	fmt.Println(tutel.Bound(10, 4, true), tutel.Bound(10, 4, false))
	// Output: 6 12
}

// The loss of Megatron's seq_aux_loss: it counts the largest scores of each token, whatever groups
// and bias choose, and divides by the mean length of the sequences. The two sequences here have
// three tokens and one.
func ExampleCounting() {
	loss := router.SequenceBalance(1, 0, router.CountPlain|router.MeanLength)
	gate, err := router.TopK{K: 1, Score: router.Sigmoid, Losses: []router.Loss{loss}}.New(router.Shape{Dim: 4, Experts: 2})
	if err != nil {
		panic(err)
	}
	logits := blas32.General{Rows: 4, Cols: 2, Stride: 2, Data: []float32{9, -9, 9, -9, 9, -9, -9, 9}}
	d, err := gate.(router.LogitRouter).RouteLogits(logits, router.Batch{Ends: []int{4}, Sequences: []int{3, 4}, Train: true})
	if err != nil {
		panic(err)
	}
	// A sequence of n tokens for one expert has the loss 2·n²/2², and the mean of both is taken.
	fmt.Printf("%.3f\n", d.GroupLoss[0])
	// Output: 2.500
}
