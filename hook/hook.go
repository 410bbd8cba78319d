// Package hook describes functions of a program that a layer calls as rows pass through it: before
// and after the layer, and before and after the dispatch and the combine of each chunk. They may
// read the rows and replace them. (The six hooks of FSMoE, Pan et al. 2025.)
//
// # What a hook may do
//
// It may write to the rows, all of which are the layer's own copies, and leaves their number and
// width as they are. It keeps neither them nor Call.Ends, and calls no method of the layer. It may
// block; the pass waits, and so do the ranks that wait for its rows. It is not called for no rows.
//
// Start, AfterDispatch, BeforeCombine and End are called on the goroutine that called the method of
// the layer or of the pass. So are BeforeDispatch and AfterCombine, unless the exchange is cut into
// chunks or timed: then they are called on the goroutine that moves rows, at the same time as
// those. Passes that run at the same time call hooks at the same time.
//
// # Gradients
//
// The layer knows nothing of what a hook does. A program that replaces rows in a forward pass
// changes their gradients, by the transpose of that change, at the opposite point of the backward
// pass:
//
//	Forward         Backward
//	Start           End
//	BeforeDispatch  AfterCombine
//	AfterDispatch   BeforeCombine
//	BeforeCombine   AfterDispatch
//	AfterCombine    BeforeDispatch
//	End             Start
//
// A backward pass may be cut into other chunks than its forward pass. A pass that is dropped and
// run again calls its hooks again.
//
// # Errors
//
// A hook that returns an error fails the pass on every rank, and no further hook of the pass is
// called on its rank. That rank returns the error beneath alltoall.ErrRefused, the others one that
// names the rank and the hook; the layer then goes on with the next batch. Under Wire.Finite a hook
// that makes a number that is not finite is blamed likewise.
//
// # Costs
//
// A point without a hook costs nothing. With hooks each rank sends 8 bytes to each of the others at
// the end of a pass, and 8 more with End. Start copies the tokens, BeforeDispatch the rows in a
// forward pass (so alltoall.Rails and Dedup send each of a token's rows), and BeforeCombine the
// answers. BeforeDispatch and AfterCombine count as time of the exchange.
package hook

import (
	"context"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"
)

// Func is a hook: it is given rows, a row a token or a token's copy for an expert, and may write to
// them. The context is that of the pass.
type Func func(ctx context.Context, c Call, rows blas32.General) error

// Points are the hooks of one direction; nil is none.
type Points struct {
	// Start is given the tokens, or in a backward pass the gradient of the output, before the layer
	// reads them. In rows of padding are zeros.
	Start Func
	// BeforeDispatch is given the rows for each rank, this one too, before they leave; if rows are
	// compressed, their centroids. In a backward pass they are the gradients of answers, also those
	// of centroids, of which the parameters of experts learn.
	BeforeDispatch Func
	// AfterDispatch is given rows that have come for the experts hosted here.
	AfterDispatch Func
	// BeforeCombine is given the experts' answers, or in a backward pass their gradients of rows: of
	// all rows, where the gradients of all travel beside those of centroids
	// (switchyard.Compression.Gradients).
	BeforeCombine Func
	// AfterCombine is given the answers that have come back from each rank, this one too, to the
	// rows of BeforeDispatch; in a backward pass what BeforeCombine has left.
	AfterCombine Func
	// End is given the output, or in a backward pass the gradient of the tokens.
	End Func
}

// Number is how many points there are.
const Number = 6

// List returns the hooks in the order in which a pass comes to them.
func (p *Points) List() [Number]Func {
	return [...]Func{p.Start, p.BeforeDispatch, p.AfterDispatch, p.BeforeCombine, p.AfterCombine, p.End}
}

// Name is that of the i-th point of the list.
func Name(i int) string {
	return [...]string{"Start", "BeforeDispatch", "AfterDispatch", "BeforeCombine", "AfterCombine", "End"}[i]
}

// Hooks are those of a layer. Every rank sets the same points; the functions may differ.
type Hooks struct {
	// Forward is of forward passes, those of evaluation included, and Backward of backward passes.
	Forward, Backward Points
}

// String lists the points that are set. Ranks compare it.
func (h Hooks) String() string {
	var set []string
	for i, points := range []Points{h.Forward, h.Backward} {
		for j, f := range points.List() {
			if f != nil {
				set = append(set, [...]string{"Forward.", "Backward."}[i]+Name(j))
			}
		}
	}
	return "[" + strings.Join(set, " ") + "]"
}

// Call says what the rows of a call are.
type Call struct {
	// Pass is the number of the pass, from 1, and Step the number of steps taken before it. They are
	// the same on every rank.
	Pass uint64
	Step int
	// Train is false in an evaluation, and Backward true in a backward pass.
	Train, Backward bool
	// Chunk is the number of the chunk of the exchange, from 0, and Chunks that of all. Before and
	// after the layer both are 0.
	Chunk, Chunks int
	// Ends are where the rows of each expert end, sorted by expert: those of expert Expert+i end at
	// Ends[i]. Before and after the layer there are none. A chunk may take several calls.
	Expert int
	Ends   []int
}
