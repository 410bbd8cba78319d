package balance

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Placing is what [Placing.Place] decides by: the loads of experts over many steps, and what it
// costs to move one. All numbers are integers, the same on every rank.
type Placing struct {
	// Rows is the rows of each expert in these Steps steps, of all ranks.
	Rows  []int64
	Steps int64
	// On is the rank that hosts each expert now.
	On []int
	// Row is the picoseconds in which each rank computes a row.
	Row []int64
	// Room is the most experts of a rank; 0 is any number. A rank that has more now gets no other.
	Room int
	// Bytes is those of an expert's parameters and of what the optimizer keeps for them, and Byte the
	// picoseconds in which a rank sends or receives a byte.
	Bytes, Byte int64
	// Within is the number of steps in which moves must pay.
	Within int64
	// Fall is by how many thousandths the coefficient of variation of the ranks' times (standard
	// deviation ÷ mean) must fall; 0 is 80, as in MindSpeed, and −1 nothing.
	Fall int
}

// Placed is where experts are to be.
type Placed struct {
	// On is the rank that hosts each expert: as now, unless moves pay.
	On []int
	// Moves is how many experts have another rank than now.
	Moves int
	// Before and After are the picoseconds in which the last rank has computed the rows of all steps,
	// as experts are now and by On.
	Before, After int64
	// Cost is the picoseconds in which the rank that moves the most experts, there or away, does so.
	Cost int64
}

// Validate reports every fault.
func (p *Placing) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("balance: Placing."+format, args...))
		}
	}
	fault(len(p.Row) == 0, "Row of no rank")
	fault(len(p.On) != len(p.Rows), "On has %d experts, want those of Rows, %d", len(p.On), len(p.Rows))
	fault(p.Steps < 1, "Steps is %d, want 1 or more", p.Steps)
	fault(p.Room < 0 || p.Bytes < 0 || p.Byte < 0 || p.Within < 0, "Room, Bytes, Byte and Within are %d, %d, %d and %d, must not be negative",
		p.Room, p.Bytes, p.Byte, p.Within)
	fault(p.Fall < -1 || p.Fall > 1e6, "Fall is %d, want -1 to 1000000", p.Fall)
	for r, v := range p.Row {
		fault(v < 0, "Row[%d] is %d, must not be negative", r, v)
	}
	for e, r := range p.On {
		fault(r < 0 || r >= len(p.Row), "On[%d] is %d, want one of the %d ranks", e, r, len(p.Row))
	}
	left := int64(math.MaxInt64)
	for e, n := range p.Rows {
		fault(n < 0 || n > left, "Rows[%d] is %d, want 0 to %d", e, n, left)
		left -= min(max(n, 0), left)
	}
	return errors.Join(faults...)
}

// Place returns where experts are to be. As long as that lets the busiest rank end earlier, it
// moves one of its experts to another rank or swaps it for one there, and does what lets the later
// of the two ranks end first; of equal choices it takes the lowest expert, then the lowest rank,
// and a move before a swap. Then it takes all moves or none: they must save more time in
// Within steps than they cost, and lower the variation by Fall.
func (p *Placing) Place() (Placed, error) {
	if err := p.Validate(); err != nil {
		return Placed{}, err
	}
	s := newPlacer(p)
	before, variation := s.finish(), s.variation()
	stay := Placed{On: slices.Clone(p.On), Before: before, After: before}
	for s.better() {
	}
	placed := Placed{On: s.on, Before: before, After: s.finish()}
	placed.Moves, placed.Cost = p.cost(s.on)
	pays := times(before-placed.After, p.Within) > times(placed.Cost, p.Steps)
	if fall := p.fall(); !pays || variation-s.variation() < fall {
		return stay, nil
	}
	return placed, nil
}

// fall is by how much the variation must fall.
func (p *Placing) fall() float64 {
	switch p.Fall {
	case 0:
		return 0.08
	case -1:
		return math.Inf(-1)
	}
	return float64(p.Fall) / 1000
}

// cost counts the experts that move, and the time of the rank that moves the most of them. A link
// carries both directions at once.
func (p *Placing) cost(on []int) (moves int, cost int64) {
	away, there := make([]int64, len(p.Row)), make([]int64, len(p.Row))
	for e, r := range on {
		if was := p.On[e]; was != r {
			moves++
			away[was]++
			there[r]++
		}
	}
	return moves, times(max(slices.Max(away), slices.Max(there)), times(p.Bytes, p.Byte))
}

// Hosting returns Hosted and Order of a layer's configuration, the numbers of experts of the ranks
// and all experts by rank, of where experts are.
func Hosting(on []int, ranks int) (hosted, order []int) {
	hosted = make([]int, ranks)
	for r := range ranks {
		for e, of := range on {
			if of == r {
				hosted[r]++
				order = append(order, e)
			}
		}
	}
	return hosted, order
}
