// Package schedule says what runs when: the operations of mixture-of-experts layers as a graph of
// tasks on resources, so that sending and computing overlap.
//
// A [Graph] is plain data. [Execute] runs it against the real clock, with one worker a resource,
// and [Simulate] walks the same graph with a cost model. A layer runs each pass as the graph of a
// [Pipeline]; package autotune chooses into how many chunks, by simulating that graph with costs
// that it has measured ([Samples]). Package simulate plans whole models and many ranks, for
// benchmarks; package trace draws timelines.
//
// [GroupRanks] and [PlaceExperts] plan a job before it starts: which ranks share experts, and how
// many experts each machine has. Times are in seconds.
package schedule
