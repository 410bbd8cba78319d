// Package links says what messages cost on the links between ranks: it measures them, and predicts
// from the result how long an exchange takes.
//
// [Measure] finds the costs within and between nodes as [Links], by which [alltoall.Auto] chooses
// an algorithm. [MeasurePairs] finds the cost between each two ranks, from which ranks can be
// grouped. Both are plain data that can be kept as JSON.
package links
