package alltoall

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Placement says which rank hosts which experts: rank r has experts First[r] up to First[r+1]. A
// rank may have none.
type Placement struct {
	First []int
}

// Even spreads experts over ranks as evenly as possible, in order.
func Even(experts, ranks int) Placement {
	first := make([]int, ranks+1)
	for r := range first {
		first[r] = r * experts / ranks
	}
	return Placement{First: first}
}

// Hosted gives each rank the listed number of experts, in order.
func Hosted(experts []int) Placement {
	p := Placement{First: make([]int, len(experts)+1)}
	for r, n := range experts {
		p.First[r+1] = p.First[r] + n
	}
	return p
}

// Ranks is the number of ranks.
func (p Placement) Ranks() int { return len(p.First) - 1 }

// Experts is the number of experts over all ranks.
func (p Placement) Experts() int { return p.First[len(p.First)-1] }

// Of returns the half-open range of the experts of rank r.
func (p Placement) Of(r int) (begin, end int) { return p.First[r], p.First[r+1] }

// Count is the number of experts of rank r.
func (p Placement) Count(r int) int { return p.First[r+1] - p.First[r] }

// Home is the rank that hosts expert e.
func (p Placement) Home(e int) int {
	r, _ := slices.BinarySearch(p.First[1:], e+1)
	return r
}

// Validate returns an error that names the first rank whose range is not valid.
func (p Placement) Validate() error {
	if len(p.First) < 2 || p.First[0] != 0 {
		return fmt.Errorf("alltoall: placement %v does not begin at expert 0 or names no rank", p.First)
	}
	for r := range p.Ranks() {
		if p.First[r+1] < p.First[r] {
			return fmt.Errorf("alltoall: placement gives rank %d experts %d to %d", r, p.First[r], p.First[r+1])
		}
	}
	if err := check.Size(p.Experts(), 0); err != nil {
		return errtext.Errorf("alltoall: the number of experts is %w", err)
	}
	return nil
}
