// Package memory has the figures of an estimate of a layer: the memory that it and its passes take
// on a rank, and the bytes that it sends. Config.Estimate of the module's root makes one.
//
// Figures are of float32 in the layout of this version, with the room to grow that its buffers
// have: for a layer whose passes follow each other, each with its own Backward, without
// compression. Each further pass in flight takes Pass.Forward more.
package memory

import "fmt"

// Estimate is of one rank, one that hosts as many experts as any. Memory is in bytes.
type Estimate struct {
	// Parameters is what those of the router, of the experts hosted here and of the shared expert
	// take.
	Parameters int64
	// Gradients is what sums of their gradients take once steps have been taken: two vectors, and
	// more for experts whose gradient has more than two leaves; and two of what ranks share if sums
	// are rounded.
	Gradients int64
	// Moment is one number for each parameter: Adam keeps two of them, SGD with momentum one. In
	// fewer bits, as of expert.FP8Moments, they take less.
	Moment int64
	// Balanced is a pass in which each expert gets as many rows as any other, and Worst one in which
	// all tokens that may choose the experts of this rank do, and it computes rows of others in all
	// slots if the layer shares experts out.
	Balanced, Worst Pass
}

// Pass is what one pass takes on the rank.
type Pass struct {
	// Sent is the number of rows that the rank sends to experts, its own included, and Received the
	// number that its experts get.
	Sent, Received int64
	// Forward is the memory that a pass keeps from its Forward to the end of its Backward.
	Forward int64
	// Backward is the memory that Backward takes besides.
	Backward int64
	// RowBytes is the bytes of rows that leave the rank in the four exchanges together. Counts,
	// divisions into leaves and sums of gradients come on top.
	RowBytes int64
}

// Training is the memory of the layer and of its passes when it trains with an optimizer that keeps
// this number of moments: with a load that is balanced.
func (e Estimate) Training(moments int) int64 {
	return e.Parameters + e.Gradients + int64(moments)*e.Moment + e.Balanced.Forward + e.Balanced.Backward
}

// String is three lines.
func (e Estimate) String() string {
	return fmt.Sprintf("parameters %.1f MB, gradients %.1f MB, a moment of the optimizer %.1f MB\n"+
		"balanced pass: %v\nworst pass: %v\n",
		megabytes(e.Parameters), megabytes(e.Gradients), megabytes(e.Moment), e.Balanced, e.Worst)
}

// String is one line.
func (p Pass) String() string {
	return fmt.Sprintf("%d rows sent, %d received; MB: %.1f kept, %.1f in Backward, %.1f leave",
		p.Sent, p.Received, megabytes(p.Forward), megabytes(p.Backward), megabytes(p.RowBytes))
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }
