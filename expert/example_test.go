package expert_test

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

// Two experts that are FFNs answer two rows and one row of one token group.
func ExampleFFN() {
	experts, err := expert.FFN{Hidden: 2, Activation: expert.ReLU, NoBias: true}.New(expert.Shape{Dim: 2, Count: 2})
	if err != nil {
		panic(err)
	}
	// w1 and w2 of both experts, input by output: the identity, and twice that for the second w2.
	copy(experts.Params().Value, []float32{
		1, 0, 0, 1, 1, 0, 0, 1,
		1, 0, 0, 1, 2, 0, 0, 2,
	})
	x := blas32.General{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, -1, 2, 3, 4, -5}}
	y, _ := experts.Forward(x, expert.Rows{Experts: 2, Leaves: 1, Ends: []int{2, 3}})
	fmt.Println(y.Data)
	// Output: [1 0 2 3 8 0]
}

// An expert of a SwiGLU has three tensors.
func ExampleSwiGLU() {
	experts, err := expert.SwiGLU{Hidden: 16}.New(expert.Shape{Dim: 4, Count: 3})
	if err != nil {
		panic(err)
	}
	for _, t := range experts.Params().Tensors() {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// w_gate [3 4 16]
	// w_up [3 4 16]
	// w_down [3 16 4]
}

// The second half of an expert: what it answers is added to what the first half does.
func ExampleShardable() {
	var whole expert.Shardable = expert.SwiGLU{Hidden: 16}
	half, err := whole.Shard(1, 2)
	if err != nil {
		panic(err)
	}
	experts, err := half.New(expert.Shape{Dim: 4, Count: 3})
	if err != nil {
		panic(err)
	}
	for _, t := range experts.Params().Tensors() {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// w_gate [3 4 8]
	// w_up [3 4 8]
	// w_down [3 8 4]
}

// Experts that answer with what they get: what remains of a layer is the exchange.
func ExampleIdentity() {
	experts, err := expert.Identity{}.New(expert.Shape{Dim: 2, Count: 1})
	if err != nil {
		panic(err)
	}
	x := blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: []float32{3, 4}}
	y, _ := experts.Forward(x, expert.Rows{Experts: 1, Leaves: 1, Ends: []int{1}})
	fmt.Println(y.Data)
	// Output: [3 4]
}

// The first step of Adam moves each element by the learning rate, against the sign of its gradient.
func ExampleNewAdam() {
	experts, err := expert.FFN{Hidden: 1, NoBias: true}.New(expert.Shape{Dim: 1, Count: 1})
	if err != nil {
		panic(err)
	}
	params := experts.Params()
	copy(params.Value, []float32{1, 2})
	adam := expert.NewAdam(0.1)
	adam.Update(params, []float32{5, -5})
	fmt.Printf("%.2f\n%v\n", params.Value, adam)
	// Output:
	// [0.90 2.10]
	// Adam{LR:0.1 Beta1:0.9 Beta2:0.999 Eps:1e-08 WeightDecay:0}
}

// Gradient descent with momentum, whose second step is longer.
func ExampleNewSGD() {
	experts, err := expert.FFN{Hidden: 1, NoBias: true}.New(expert.Shape{Dim: 1, Count: 1})
	if err != nil {
		panic(err)
	}
	params := experts.Params()
	copy(params.Value, []float32{1, 2})
	sgd := expert.NewSGD(0.5)
	sgd.Momentum = 0.5
	for range 2 {
		sgd.Update(params, []float32{1, 0})
		fmt.Println(params.Value)
	}
	// Output:
	// [0.5 2]
	// [-0.25 2]
}

// Neither gates nor biases decay, and the weights of experts learn at half the rate. The first
// group that a tensor is in counts.
func ExampleParamGroup() {
	sgd := expert.NewSGD(1)
	sgd.WeightDecay = 0.25
	sgd.Groups = []expert.ParamGroup{
		{Names: []string{"b?"}, WeightDecay: new(float32(0))},
		{Kinds: []param.Kind{param.Gate}, WeightDecay: new(float32(0))},
		{Kinds: []param.Kind{param.Expert}, LRFactor: new(float32(0.5))},
	}
	for _, kind := range []param.Kind{param.Gate, param.Expert, param.Dense} {
		p := param.NewSet(param.Tensor{Name: "w1", Shape: []int{1}}, param.Tensor{Name: "b1", Shape: []int{1}})
		p.Kind = kind // a layer sets it for its own sets
		copy(p.Value, []float32{4, 4})
		sgd.Update(p, []float32{1, 1})
		fmt.Println(kind, p.Value)
	}
	// Output:
	// gate [3 3]
	// expert [3 3]
	// dense [2 3]
}

// A literal that leaves settings out is an error that Step returns before it changes anything.
func ExampleAdam_Validate() {
	fmt.Println((&expert.Adam{LR: 0.1}).Validate() != nil, expert.NewAdam(0.1).Validate())
	// Output: true <nil>
}

// selective is an optimizer from outside: gradient descent with weight decay for experts alone.
type selective struct{ lr, decay float32 }

// Update changes p.Value in place. grad is laid out as p.Value, and p.Kind says whose it is.
func (o selective) Update(p *param.Set, grad []float32) {
	decay := float32(0)
	if p.Kind == param.Expert {
		decay = o.decay
	}
	for i, g := range grad {
		p.Value[i] -= float32(o.lr * (g + float32(decay*p.Value[i])))
	}
}

// An optimizer that is not of this package: it treats the gate and the experts differently.
func ExampleOptimizer() {
	var optimizer expert.Optimizer = selective{lr: 0.5, decay: 0.5}
	for _, kind := range []param.Kind{param.Gate, param.Expert} {
		p := param.NewSet(param.Tensor{Name: "w", Shape: []int{1, 2}})
		p.Kind = kind // a layer sets it for its gate and its experts
		copy(p.Value, []float32{1, 2})
		optimizer.Update(p, []float32{1, 0})
		fmt.Println(p.Kind, p.Value)
	}
	// Output:
	// gate [0.5 2]
	// expert [0.25 1.5]
}

// ExampleMoments has an optimizer keep its state in a quarter of the bytes.
func ExampleMoments() {
	p := param.NewSet(param.Tensor{Name: "w", Shape: []int{64, 256}})
	adam := expert.NewAdam(1e-3)
	adam.Moments = expert.FP8Moments
	adam.Update(p, make([]float32, len(p.Value)))
	for _, m := range adam.State(p).Moments {
		fmt.Printf("%s: %.2f bytes a parameter\n", m.Name, float64(len(m.Codes))/float64(len(p.Value)))
	}
	// Output:
	// m.fp8: 1.04 bytes a parameter
	// v.fp8: 1.04 bytes a parameter
}
