// Package simulate plans and simulates whole models on many ranks. Only benchmarks use it: a layer
// chooses its own number of chunks with package autotune.
//
// A stack of [Layer]s and a [Plan] give the graph of a step ([BuildStep]); [Cluster] walks it for
// thousands of ranks at once. [Choose] finds a plan for given costs: into how many chunks each
// layer's exchange is cut, in forward and in backward, and how much of the gradient is summed in
// which gap of the link. The operations, their order and the cutting of gradients are those of
// FSMoE (Pan et al., ASPLOS 2025); [Policies] has the schedules of other systems for comparison.
// Times are in seconds unless a caller uses another unit throughout.
package simulate
