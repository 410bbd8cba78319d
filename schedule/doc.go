// Package schedule says what runs when: the operations of mixture-of-experts layers as a graph of
// tasks on lanes, so that sending and computing overlap.
//
// A [Graph] is plain data. [Execute] runs it against the real clock, with one worker a lane;
// [Simulate] walks the same graph with a cost model, and [Cluster.Simulate] does for thousands of
// ranks at once. A layer runs its passes with Execute, and chooses into how many chunks it cuts
// them by Simulate, with costs that it has measured ([Samples]).
//
// [Choose] plans whole models for given costs; only benchmarks use it. Its lanes, their order and
// the cutting of gradients are those of FSMoE (ASPLOS 2025); [Policies] has the schedules of other
// systems for comparison. Times are in seconds unless a caller uses another unit throughout.
package schedule
