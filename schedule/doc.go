// Package schedule says what runs when: the operations of mixture-of-experts layers as a graph of tasks on lanes, so that
// sending and computing overlap.
//
// A [Graph] is plain data. [Execute] runs it against the real clock with one worker a lane; [Simulate] walks the same graph
// with a cost model, [Cluster.Simulate] walks it for thousands of ranks at once. So the schedule that the simulator
// praises is the one that runs.
//
// Costs come from a [Profile], which fits a line to measured times. [Choose] takes them and picks into how many chunks each
// layer's exchange is cut, in forward and in backward, and how much of the gradient is summed in which gap of the link.
//
// The lanes, their order and the cutting of gradients are those of FSMoE (ASPLOS 2025); the schedules of other systems
// are in [Baselines] for comparison. Times are in seconds unless a caller uses another unit throughout.
package schedule
