package router

import (
	"errors"
	"fmt"
)

// Hot gives one expert a share of all tokens and deals the others in turn: what a benchmark of an
// unbalanced load needs. The hot tokens are spread evenly over a token group, and take the hot
// expert as the first of their K. No parameters, no gradient, weights of 1/K. (DeepEP's tests have
// such a generator.)
type Hot struct {
	// K is the number of experts of each token, from 1 to all but the hot one.
	K int
	// Expert is the hot one.
	Expert ExpertID
	// Share is the share of the tokens that go to it, from 0 to 1.
	Share float64
}

var _ Router = Hot{}

// New is described at [Router].
func (r Hot) New(s Shape) (Gate, error) {
	faults := append(checkShape(s), checkK("Hot", r.K, max(s.Experts-1, 1))...)
	if r.Expert < 0 || int(r.Expert) >= max(s.Experts, 1) {
		faults = append(faults, fmt.Errorf("router: Hot: expert %d of %d", r.Expert, s.Experts))
	}
	if !(r.Share >= 0 && r.Share <= 1) {
		faults = append(faults, fmt.Errorf("router: Hot: share is %v, want 0 to 1", r.Share))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return newGiven(s, r.K, &hot{expert: int32(r.Expert), share: r.Share, others: inTurn(s.Experts - 1)}), nil
}

type hot struct {
	expert int32
	share  float64
	others inTurn
}

func (h *hot) experts(dst []int32, in *input, t, i int) {
	if h.others == 0 {
		dst[0] = h.expert
		return
	}
	h.others.experts(dst, in, t, i)
	for j, e := range dst {
		if e >= h.expert {
			dst[j]++
		}
	}
	// Whole numbers of hot tokens are passed as evenly as can be.
	if int(float64(i+1)*h.share) > int(float64(i)*h.share) {
		dst[0] = h.expert
	}
}
