package router_test

import (
	"bytes"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// decide routes four tokens of three columns, one token group, to three experts. The gate's matrix
// is the identity, so that the logits of a token are the token itself.
func decide(r router.Router, b router.Batch) *router.Decision {
	gate, err := r.New(router.Shape{Dim: 3, Experts: 3})
	if err != nil {
		panic(err)
	}
	if p := gate.Params(); p != nil && len(p.Value) == 9 {
		copy(p.Value, []float32{1, 0, 0, 0, 1, 0, 0, 0, 1})
	}
	tokens := blas32.General{Rows: 4, Cols: 3, Stride: 3, Data: []float32{
		3, 2, 0,
		2, 0, 1,
		4, 1, 0,
		1, 0, 2,
	}}
	b.Ends = []int{4}
	d, err := gate.Route(tokens, b)
	if err != nil {
		panic(err)
	}
	return d
}

// show prints the tokens of each expert.
func show(d *router.Decision) {
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		fmt.Print(d.Token[begin:end], " ")
	}
	fmt.Println("dropped:", d.Dropped)
}

// Each token goes to one expert; at a capacity factor of 1 an expert takes two of the four tokens.
func ExampleSwitch() {
	show(decide(router.Switch{CapacityFactor: 1}, router.Batch{}))
	// Output: [0 1] [] [3] dropped: 1
}

// Two experts a token, without drawing the second one.
func ExampleGShard() {
	show(decide(router.GShard{}, router.Batch{}))
	// Output: [0 1 2 3] [0 2] [1 3] dropped: 0
}

// One choice from each of three sets of one expert: all of them.
func ExamplePrototypes() {
	show(decide(router.Prototypes{K: 3}, router.Batch{}))
	// Output: [0 1 2 3] [0 1 2 3] [0 1 2 3] dropped: 0
}

// A table of token numbers in place of a gate.
func ExampleHash() {
	table := router.Hash{Table: []router.ExpertID{2, 0}}
	show(decide(table, router.Batch{IDs: []int32{0, 1, 1, 0}}))
	// Output: [1 2] [] [0 3] dropped: 0
}

// The assignment with the largest sum of logits and at most ⌈4/3⌉ tokens an expert.
func ExampleBASE() {
	show(decide(router.BASE{}, router.Batch{Train: true}))
	// Output: [1 2] [0] [3] dropped: 0
}

// In evaluation a token chooses by itself.
func ExampleSinkhorn() {
	show(decide(router.Sinkhorn{K: 1}, router.Batch{}))
	// Output: [0 1 2] [] [3] dropped: 0
}

// Each expert takes its best token.
func ExampleExpertChoice() {
	show(decide(router.ExpertChoice{CapacityFactor: 0.75}, router.Batch{}))
	// Output: [2] [0] [3] dropped: 0
}

// Padding is not routed.
func ExampleBatch() {
	show(decide(router.TopK{K: 1}, router.Batch{Padding: []bool{false, false, false, true}}))
	// Output: [0 1 2] [] [] dropped: 0
}

// Expert 1 takes all tokens with a feature above zero, whatever the tokens are.
func ExampleSideFeatures() {
	gate, err := router.SideFeatures{TopK: router.TopK{K: 1}, Columns: 1}.New(router.Shape{Dim: 3, Experts: 2})
	if err != nil {
		panic(err)
	}
	copy(gate.Params().Value, []float32{-1, 1})
	d, err := gate.Route(blas32.General{Rows: 2, Cols: 3, Stride: 3, Data: make([]float32, 6)}, router.Batch{
		Ends: []int{2}, Features: blas32.General{Rows: 2, Cols: 1, Stride: 1, Data: []float32{5, -5}},
	})
	if err != nil {
		panic(err)
	}
	show(d)
	// Output: [1] [0] dropped: 0
}

// A gate for each of two tasks; the batch names the one that decides.
func ExampleSeveral() {
	tasks := router.Several{Routers: []router.Router{router.Hot{K: 1, Share: 1}, router.Uniform{K: 1}}}
	show(decide(tasks, router.Batch{Gate: 0}))
	show(decide(tasks, router.Batch{Gate: 1}))
	// Output:
	// [0 1 2 3] [] [] dropped: 0
	// [0 3] [1] [2] dropped: 0
}

// Experts of a layer in a model of eight layers: more of them in the higher ones.
func ExampleMoLA() {
	m := router.MoLA{2, 4, 6, 8}
	for layer := range 8 {
		fmt.Print(m.Experts(layer, 8), " ")
	}
	// Output: 2 2 4 4 6 6 8 8
}

// Slots are mixtures: the weights of each slot sum to 1 over the tokens.
func ExampleSoftMoE() {
	d := decide(router.SoftMoE{}, router.Batch{})
	fmt.Println(d.Mixture != nil)
	// Output: true
}

// Decisions go to a file, and a later job follows them.
func ExampleNewRecorder() {
	var file bytes.Buffer
	recorder, err := router.NewRecorder(&file)
	if err != nil {
		panic(err)
	}
	show(decide(router.Record{Router: router.TopK{K: 1}, To: recorder}, router.Batch{Train: true}))

	recording, err := router.OpenRecording(bytes.NewReader(file.Bytes()))
	if err != nil {
		panic(err)
	}
	show(decide(router.Replay{From: recording}, router.Batch{Train: true}))
	// Output:
	// [0 1 2] [] [3] dropped: 0
	// [0 1 2] [] [3] dropped: 0
}

// The batches of a file, one by one.
func ExampleNewRouteReader() {
	var file bytes.Buffer
	recorder, err := router.NewRecorder(&file)
	if err != nil {
		panic(err)
	}
	for micro := range 2 {
		decide(router.Record{Router: router.TopK{K: 1}, To: recorder, Layer: 3}, router.Batch{Micro: micro, Train: true})
	}
	reader, err := router.NewRouteReader(&file)
	if err != nil {
		panic(err)
	}
	for {
		route, err := reader.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("layer", route.Layer, "batch", route.Micro, "experts", route.Experts)
	}
	// Output:
	// layer 3 batch 0 experts 3
	// layer 3 batch 1 experts 3
	// EOF
}

// Expert 0 takes texts, experts 1 and 2 take images, each the best of its kind.
func ExampleModality() {
	show(decide(router.Modality{Groups: []router.ModalityGroup{
		{Name: "text", Experts: 1}, {Name: "image", Experts: 2},
	}}, router.Batch{Modality: []int32{0, 1, 1, 0}}))
	// Output: [0 3] [1] [2] dropped: 0
}

// The caller's rule in place of a gate.
func ExampleForced() {
	show(decide(router.Forced{Route: func(token int) []router.ExpertID {
		return []router.ExpertID{router.ExpertID(token % 2)}
	}}, router.Batch{}))
	// Output: [0 2] [1 3] [] dropped: 0
}

// Routes that can be read only once, a pipe for one, are kept in memory.
func ExampleReadRecording() {
	var file bytes.Buffer
	recorder, err := router.NewRecorder(&file)
	if err != nil {
		panic(err)
	}
	decide(router.Record{Router: router.TopK{K: 1}, To: recorder}, router.Batch{Train: true})
	recording, err := router.ReadRecording(&file)
	if err != nil {
		panic(err)
	}
	route, err := recording.Route(router.RouteKey{Train: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(recording.Len(), route.Counts)
	// Output: 1 [3 0 1]
}
