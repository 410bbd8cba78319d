package roworder

import (
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/router"
)

// arranged is the rows of a decision in the order in which they travel, if experts do not stand in
// the order of their numbers.
type arranged struct {
	sent router.Decision // its entries, sorted by the position of their expert
	to   []int32         // where entry i of the decision is in sent
}

// Experts is the order in which experts stand.
func (s *Stage) Experts() layout.Order { return s.order }

// Counts returns counts of rows by expert as those by position.
func (s *Stage) Counts(c alltoall.Counts) alltoall.Counts {
	c.Rows = layout.ByPosition(s.order, c.Rows)
	return c
}

// arrange returns the decision sorted by position.
func (s *Stage) arrange(p *Pass, d *router.Decision) *router.Decision {
	if s.order.Plain() {
		return d
	}
	n := len(d.Token)
	a := &p.arranged
	a.to = make([]int32, n)
	a.sent = router.Decision{Assignment: router.Assignment{
		Tokens: d.Tokens, Experts: d.Experts,
		Ends: make([]int, 0, d.Experts), Token: make([]int32, 0, n), Weight: make([]float32, 0, n),
	}}
	for position := range d.Experts {
		begin, end := d.Of(router.ExpertID(s.order.Expert(position)))
		for i := begin; i < end; i++ {
			a.to[i] = int32(len(a.sent.Token) + i - begin)
		}
		a.sent.Token = append(a.sent.Token, d.Token[begin:end]...)
		a.sent.Weight = append(a.sent.Weight, d.Weight[begin:end]...)
		a.sent.Ends = append(a.sent.Ends, len(a.sent.Token))
	}
	return &a.sent
}

// decided returns a number for each row that travelled in the order of the decision.
func (a *arranged) decided(sent []float32) []float32 {
	list := make([]float32, len(sent))
	for i, at := range a.to {
		list[i] = sent[at]
	}
	return list
}
