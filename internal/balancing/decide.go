package balancing

import (
	"cmp"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// decider makes the allocations of a layer.
type decider struct {
	planner balance.Planner
	free    balance.Planner // what it would do without limits
	always  bool
	problem balance.Problem
	costs   [2]balance.Costs // of evaluation and training, but for Row

	prediction balance.Prediction
	slots      []int // scratch: of each rank
}

// newDecider returns the one of a layer whose rows travel by x, over links, and each of whose
// experts has a number of bytes of parameters.
func newDecider(how balance.Config, x alltoall.Config, l links.Links, bytes int64) *decider {
	d := &decider{planner: how.New(), free: how.New(), always: how.When == balance.Always}
	d.problem.Limits = how.Limits(cmp.Or(x.MaxRows, alltoall.DefaultMaxRows), bytes)
	d.problem.Node = x.Topology.Node
	legs := x.Wire.Legs()
	rowBytes := [...]int{legs[0].Bytes(x.Dim) + legs[1].Bytes(x.Dim), x.Wire.RowBytes(x.Dim)}
	for i := range d.costs {
		d.costs[i] = balance.Costs{
			RowBytes: int64(rowBytes[i]), Params: bytes, Within: perByte(l.Within), Between: perByte(l.Between),
		}
	}
	d.costs[index(true)].Gradient = bytes
	if bytes > 0 {
		d.costs[index(true)].Leaf = LeafRows
	}
	return d
}

// perByte is the picoseconds of a byte.
func perByte(l links.Link) int64 { return int64(1000 * min(l.Beta, 1<<20)) }

// decide makes the allocation of a pass. An error says what is wrong with the planner's.
func (d *decider) decide(l *alltoall.Loads, train, gradients bool) (a alltoall.Allocation, s Stats, err error) {
	p := &d.problem
	p.Loads = l
	known := d.price(l.RowTime, train)
	if !gradients {
		p.Costs.Gradient, p.Costs.Leaf = 0, 0
	}
	asked := known || d.always
	if asked {
		a = d.planner.Plan(p)
	}
	if err := a.Validate(l, p.Limits); err != nil {
		return nil, s, errtext.Errorf("switchyard: Config.Balance.Planner %v: %w", d.planner, err)
	}
	s = d.describe(a)
	if asked && d.limited(a) {
		s.Stayed = d.stayed(s.Rows)
	}
	return a, s, nil
}

// price sets the costs of a pass, by the times that ranks take for a row, and reports whether all
// are known. Where one is not all rows cost the same, and links and leaves nothing.
func (d *decider) price(rowTime []int64, train bool) (known bool) {
	row := d.problem.Costs.Row[:0]
	known = !slices.Contains(rowTime, 0)
	for _, t := range rowTime {
		if !known {
			t = 1000
		}
		row = append(row, t)
	}
	d.problem.Costs = d.costs[index(train)]
	d.problem.Costs.Row = row
	if !known {
		d.problem.Costs.Within, d.problem.Costs.Between, d.problem.Costs.Leaf = 0, 0, 0
	}
	return known
}

// Stats describes what is shared out in a pass.
type Stats = balance.Stats

// describe costs an allocation.
func (d *decider) describe(a alltoall.Allocation) (s Stats) {
	q := &d.prediction
	q.Fill(&d.problem, nil)
	s.RowsBefore, s.TimeBefore = balance.MaxOverMean(q.Rows), balance.MaxOverMean(q.Time)
	if len(a) > 0 {
		q.Share(a)
	}
	s.RowsAfter, s.TimeAfter = balance.MaxOverMean(q.Rows), balance.MaxOverMean(q.Time)
	s.Copies, s.Rows, s.Bytes = q.Copies, int(q.Moved), q.Bytes
	for i, r := range a {
		if i == 0 || a[i-1].Expert != r.Expert {
			s.Experts++
		}
	}
	return s
}

// limited reports whether a limit may have kept rows at home that a does not share out: a rank has
// as many runs of others' experts as it may, or could have more rows than it may.
func (d *decider) limited(a alltoall.Allocation) bool {
	l, limits, all := d.problem.Loads, d.problem.Limits, int64(0)
	for _, rows := range d.prediction.Rows {
		all += rows
	}
	if limits.Slots == 0 || limits.Rows > 0 && all > int64(limits.Rows) {
		return true
	}
	d.slots = append(d.slots[:0], make([]int, l.Placement.Ranks())...)
	for _, r := range a {
		if r.Rank != l.Placement.Home(r.Expert) {
			if d.slots[r.Rank]++; d.slots[r.Rank] == limits.Slots {
				return true
			}
		}
	}
	return false
}

// stayed is how many rows more than those that are moved would be without limits.
func (d *decider) stayed(moved int) int {
	p, q := d.problem, &d.prediction
	p.Limits = alltoall.Limits{Slots: p.Loads.Placement.Experts()}
	a := d.free.Plan(&p)
	if a.Validate(p.Loads, p.Limits) != nil {
		return 0 // as its decisions within limits would be refused
	}
	q.Fill(&p, a)
	return max(int(q.Moved)-moved, 0)
}
