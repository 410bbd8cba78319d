package router

import "gonum.org/v1/gonum/blas/blas32"

// Consulting is a gate whose choice depends on the tokens of other ranks. It stays pure: it needs
// only sums of counts over all ranks, which it asks for in rounds, and its caller, the layer, sums
// them. Its Route decides as if the rows were the whole batch.
type Consulting interface {
	Gate
	// Consult begins to decide for the rows of x, which are one share of the batch. Every rank calls
	// it for its own share, and then Next and Decide of the result. Between these there may be other
	// calls on the gate, of other passes: several consultations may be unfinished.
	Consult(x blas32.General, b Batch, s Share) Consultation
}

// Share says which tokens of a batch a rank holds: its tokens follow those of the shares before.
type Share struct{ Index, Count int }

// Consultation is an unfinished decision. All ranks go through the same rounds.
type Consultation interface {
	// Next takes the sums over all shares of the counts that it returned last, nil the first time,
	// and returns those to be summed next: equally many on every rank, and none once Decide can be
	// called. It keeps neither slice past the next call.
	//
	// Only the first call may fail, if the rank's own tokens cannot be routed. It then returns as
	// many counts as without the error, so that the rank can still take part in the round in which
	// the others learn of it.
	Next(sums []int64) (counts []int64, err error)
	// Decide returns the decision for the rank's own tokens, as [Gate.Route] does.
	Decide() *Decision
}

// alone decides for a batch of one share.
func alone(c Consultation) (*Decision, error) {
	counts, err := c.Next(nil)
	for err == nil && len(counts) > 0 {
		counts, err = c.Next(counts)
	}
	if err != nil {
		return nil, err
	}
	return c.Decide(), nil
}
