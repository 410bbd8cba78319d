package autotune

import (
	"slices"

	"github.com/switchyard-moe/switchyard/schedule"
)

// model predicts the time of a pass in any number of chunks from a profile: the makespan of the
// pass's graph, in which an operation takes α for each chunk and β for all rows, and the overhead
// that whole passes were seen to have beyond it.
type model struct {
	*Profile
	pass  schedule.Pass
	costs schedule.Costs
}

// model fits a line to each operation.
func (p *Profile) model(pass schedule.Pass) *model {
	m := &model{Profile: p, pass: pass}
	for _, op := range inChunks() {
		m.costs[op] = schedule.Linear{Beta: p.Timed[0].of(pass).seconds(op)}
		if line, err := p.Fit(pass, op); err == nil {
			m.costs[op] = line.Linear
		}
	}
	m.costs[schedule.Shared].Beta = p.Timed[0].of(pass).Shared
	background, collectives := 0.0, 0.0
	for i := range p.Timed {
		s := p.Timed[i].of(pass)
		background, collectives = background+s.Background, collectives+s.Collectives
	}
	if collectives > 0 {
		m.costs[schedule.GradReduce].Beta = background / collectives
	}
	return m
}

// worthwhile is how many times as fast as one chunk other numbers must have been to be taken.
const worthwhile = 1.02

// bestDegree returns the number of chunks that is fastest, of those that were timed.
func (m *model) bestDegree() int {
	best, least := 1, m.time(1, 0)/worthwhile
	for _, d := range m.Timed {
		if t := m.time(d.Chunks, 0); t < least {
			best, least = d.Chunks, t
		}
	}
	return best
}

// mostBackground bounds the background collectives of one pass.
const mostBackground = 64

// bestBackground returns how many background collectives a pass in the given number of chunks
// should run: those that take more time off what is left to do after it than they add to it.
func (m *model) bestBackground(chunks int) int {
	each := m.costs[schedule.GradReduce].Beta
	if each == 0 {
		return 0
	}
	best, least := 0, m.makespan(chunks, 0)
	for n := 1; n <= mostBackground; n++ {
		if t := m.makespan(chunks, n) - float64(n)*each; t < least {
			best, least = n, t
		}
	}
	return best
}

// time predicts the seconds of a pass in a number of chunks, with background collectives.
func (m *model) time(chunks, background int) float64 {
	return m.makespan(chunks, background) + m.overhead(chunks)
}

// overhead is the time that a pass takes beyond its makespan: the measured one if the number of
// chunks was timed, else one between those of the nearest numbers that were. Some of it is in any
// pass, such as routing; the rest is the price of overlap, as a processor that computes has to move
// rows too. That part is assumed to grow with the share of the work that overlaps, 1 − 1/chunks.
func (m *model) overhead(chunks int) float64 {
	i := slices.IndexFunc(m.Timed, func(d DegreeSeconds) bool { return d.Chunks >= chunks })
	after := &m.Timed[i]
	if after.Chunks == chunks {
		return m.measuredOverhead(after)
	}
	before := &m.Timed[i-1]
	overlapping := func(chunks int) float64 { return 1 - 1/float64(chunks) }
	share := (overlapping(chunks) - overlapping(before.Chunks)) / (overlapping(after.Chunks) - overlapping(before.Chunks))
	return (1-share)*m.measuredOverhead(before) + share*m.measuredOverhead(after)
}

// measuredOverhead is the time that the passes of d took beyond their makespan.
func (m *model) measuredOverhead(d *DegreeSeconds) float64 {
	s, background := d.of(m.pass), 0
	if s.Collectives > 0 {
		background = 1
	}
	return s.Whole - m.makespan(d.Chunks, background)
}

// makespan simulates the graph of the pass.
func (m *model) makespan(chunks, background int) float64 {
	g := schedule.Pipeline{
		Pass: m.pass, Chunks: chunks, Background: background, SplitBackward: m.Timed[0].of(m.pass).Weights > 0,
	}.Graph()
	for i := range g.Tasks {
		g.Tasks[i].Work = schedule.Work{Starts: 1, Size: 1 / float64(chunks)}
		if op := g.Tasks[i].Op; op == schedule.Shared || op == schedule.GradReduce {
			g.Tasks[i].Work.Size = 1
		}
	}
	line := schedule.Simulate(g, &m.costs)
	return line.Makespan()
}

// Two numbers of chunks whose times are within the factor alike may be equally fast: the median of
// a few steps does not tell them apart. The prediction for one that was not timed may be wrong by
// the factor doubtful.
const alike, doubtful = 1.05, 1.10

// candidates returns the numbers of chunks, powers of two up to Most and Most itself, that may be
// the fastest in one of the passes.
func (p *Profile) candidates() (list []int) {
	passes := []*model{p.model(schedule.Forward), p.model(schedule.Backward)}
	all := powersUpTo(p.Most)
	for _, d := range all {
		if slices.ContainsFunc(passes, func(m *model) bool { return m.mayBeBest(d, all) }) {
			list = append(list, d)
		}
	}
	return list
}

// mayBeBest says whether a number of chunks may be the fastest of all.
func (m *model) mayBeBest(chunks int, all []int) bool {
	least := m.time(chunks, 0)
	margin := doubtful
	if m.timed(chunks) {
		margin = alike
	}
	for _, d := range all {
		if m.time(d, 0)*margin < least {
			return false
		}
	}
	return true
}

// powersUpTo lists the powers of two below most, and most.
func powersUpTo(most int) (list []int) {
	for d := 1; d < most; d *= 2 {
		list = append(list, d)
	}
	return append(list, most)
}
