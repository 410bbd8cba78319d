package balance

import (
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Makespan is the planner to use: it lets the last rank be done as early as it can, as
// [Prediction] has it, by what rows and parameters cost on each rank and link.
//
// It searches for the earliest deadline that helpers let every rank meet, from the latest rank and
// its largest expert on. A piece goes to the rank of the home's node that can take most, or to
// another node if a rank there can take more. Runs are in the order of ranks, so that many rows are
// computed where their tokens are. They end at the leaf that pieces ask for, or where large
// subtrees of the gradient tree do so that few sums travel, whichever is better. Then the cuts of
// experts of the last rank move so that all their ranks are done at the same time. What the limits
// do not let it share stays at home, and nothing is shared if the last rank would not be done
// earlier.
type Makespan struct {
	search     search
	old, fresh []alltoall.Run // of the expert whose cuts move
	helpers    []piece        // of that expert
}

var _ Planner = (*Makespan)(nil)

// String is "makespan".
func (*Makespan) String() string { return "makespan" }

// recuts is how often it tries to move the cuts of an expert.
const recuts = 32

// Plan is described at [Planner].
func (m *Makespan) Plan(p *Problem) alltoall.Allocation {
	s := &m.search
	d := &s.draft
	if !d.begin(p) {
		return nil
	}
	s.costs = p.Costs
	s.start = append(s.start[:0], d.Time...)
	if !s.find() {
		return nil
	}
	d.divideBy(m.cut)
	for left := recuts; m.hasten(&left); {
	}
	if d.Finish() >= slices.Max(s.start) {
		return nil
	}
	return d.result()
}

// slacks is of how many slacks the best is used: of none but 0 where no sums travel.
func (m *Makespan) slacks() int {
	if m.search.costs.Gradient == 0 {
		return 1
	}
	return 3
}

// slack is how far cuts may be off for a larger subtree, as [cutter.cut] takes it.
func slack(i int) int64 { return int64(i*i) * 128 }

// cut appends the runs of an expert with the slack by which the rank that is hurt most by not
// having just its piece, and by the sums that travel, is hurt least.
func (m *Makespan) cut(runs []alltoall.Run, e int, helpers []piece) []alltoall.Run {
	d, least := &m.search.draft, int64(math.MaxInt64)
	at := len(runs)
	for i := range m.slacks() {
		m.fresh = d.cutter.cut(m.fresh[:0], e, int(d.home[e]), helpers, byRank, slack(i))
		if hurt := m.hurt(e, m.fresh); hurt < least {
			least, runs = hurt, append(runs[:at], m.fresh...)
		}
	}
	return runs
}

// hurt is how much longer than by its piece of an expert a rank takes at most by runs of it.
func (m *Makespan) hurt(e int, runs []alltoall.Run) (most int64) {
	s := &m.search
	d := &s.draft
	home, received := int(d.home[e]), int64(0)
	hurt := func(r alltoall.Run) int64 {
		rows := d.cutter.before[r.End] - d.cutter.before[r.First]
		i := slices.IndexFunc(d.cutter.shares, func(p piece) bool { return int(p.rank) == r.Rank })
		return times(s.costs.Row[r.Rank], max(rows-d.cutter.shares[i].rows, 0))
	}
	for _, r := range runs {
		if r.Rank != home {
			sums := times(s.linkCost(d.class(home, r.Rank)), s.costs.Gradient*int64(nodes(r.First, r.End)))
			received = min(received+sums, ceiling)
			most = max(most, hurt(r)+sums)
		}
	}
	for _, r := range runs {
		if r.Rank == home {
			received += hurt(r)
		}
	}
	return max(most, received)
}

// hasten moves the cuts of the first expert of the last rank with which that helps, and tells
// whether it has found one within the number of tries that are left.
func (m *Makespan) hasten(left *int) bool {
	d := &m.search.draft
	last := slices.Index(d.Time, d.Finish())
	for begin, end := 0, 0; begin < len(d.runs); begin = end {
		concerned := false
		for end = begin; end < len(d.runs) && d.runs[end].Expert == d.runs[begin].Expert; end++ {
			concerned = concerned || d.runs[end].Rank == last
		}
		if !concerned {
			continue
		}
		if *left--; *left < 0 {
			return false
		}
		if m.recut(begin, end) {
			return true
		}
	}
	return false
}

// recut moves the cuts of an expert, whose runs are given, so that its ranks are done at the same
// time. It keeps them where they were and returns false if the last rank is not done earlier so.
func (m *Makespan) recut(begin, end int) bool {
	s := &m.search
	d := &s.draft
	m.old = append(m.old[:0], d.runs[begin:end]...)
	e := m.old[0].Expert
	d.read(e)
	m.retarget(e)
	finish := d.Finish()
	for i := range m.slacks() {
		m.fresh = d.cutter.cut(m.fresh[:0], e, int(d.home[e]), m.helpers, byRank, slack(i))
		m.replace(begin, m.old, m.fresh)
		if d.Finish() < finish && d.tooLarge() < 0 {
			return true
		}
		m.replace(begin, m.fresh, m.old)
	}
	return false
}

// replace puts runs in the place of others of the same expert.
func (m *Makespan) replace(begin int, old, with []alltoall.Run) {
	d := &m.search.draft
	for _, r := range old {
		d.move(r, -1)
	}
	d.runs = slices.Replace(d.runs, begin, begin+len(old), with...)
	d.moveAll(with, 1)
}

// retarget sets the rows of an expert's helpers to those with which they would be done when its
// ranks are in the mean.
func (m *Makespan) retarget(e int) {
	s := &m.search
	d := &s.draft
	m.helpers = m.helpers[:0]
	for _, r := range m.old {
		m.helpers = append(m.helpers, piece{int32(e), int32(r.Rank), d.cutter.before[r.End] - d.cutter.before[r.First]})
	}
	if !slices.ContainsFunc(m.old, func(r alltoall.Run) bool { return r.Rank == int(d.home[e]) }) {
		m.helpers = append(m.helpers, piece{int32(e), d.home[e], 0})
	}
	mean := weighted(d.Time, s.costs.Row, m.helpers)
	for i := range m.helpers {
		p := &m.helpers[i]
		p.rows = max(p.rows+(mean-d.Time[p.rank])/max(s.costs.Row[p.rank]+s.rowOnLink(), 1), 0)
	}
	m.helpers = slices.DeleteFunc(m.helpers, func(p piece) bool { return p.rank == d.home[e] })
}
