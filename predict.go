package switchyard

import (
	"slices"

	"github.com/switchyard-moe/switchyard/schedule"
)

// profiled is what a profile says of passes of one direction, by which any degree is foretold: the makespan of the pass's graph, where
// an operation takes α for each part and β for all rows, and what whole passes were seen to take beyond it.
type profiled struct {
	*OverlapProfile
	pass  schedule.Pass
	costs schedule.Costs
}

// profiled fits a line to each operation.
func (p *OverlapProfile) profiled(pass schedule.Pass) *profiled {
	of := &profiled{OverlapProfile: p, pass: pass}
	for _, op := range []schedule.Op{schedule.Dispatch, schedule.Expert, schedule.Combine, schedule.Weights} {
		of.costs[op] = schedule.Linear{Beta: p.Timed[0].of(pass).seconds(op)}
		if line, err := p.Fit(pass, op); err == nil {
			of.costs[op] = line.Linear
		}
	}
	of.costs[schedule.Shared].Beta = p.Timed[0].of(pass).Aside
	background, chunks := 0.0, 0.0
	for i := range p.Timed {
		s := p.Timed[i].of(pass)
		background, chunks = background+s.Background, chunks+s.Chunks
	}
	if chunks > 0 {
		of.costs[schedule.GradReduce].Beta = background / chunks
	}
	return of
}

// worthwhile is how many times as fast as one part others must have been to be taken.
const worthwhile = 1.02

// bestDegree returns the number of parts that is fastest, of those that were timed.
func (p *profiled) bestDegree() int {
	best, least := 1, p.time(1, 0)/worthwhile
	for _, d := range p.Timed {
		if t := p.time(d.Parts, 0); t < least {
			best, least = d.Parts, t
		}
	}
	return best
}

// mostChunks bounds the chunks of one pass.
const mostChunks = 64

// bestChunks returns how many of the background's chunks a pass in so many parts should run: those that take more time off what is left to do after it
// than they add to it.
func (p *profiled) bestChunks(parts int) int {
	chunk := p.costs[schedule.GradReduce].Beta
	if chunk == 0 {
		return 0
	}
	best, least := 0, p.makespan(parts, 0)
	for n := 1; n <= mostChunks; n++ {
		if t := p.makespan(parts, n) - float64(n)*chunk; t < least {
			best, least = n, t
		}
	}
	return best
}

// time is what a pass takes in so many parts, with so many of the background's chunks.
func (p *profiled) time(parts, chunks int) float64 {
	return p.makespan(parts, chunks) + p.beyond(parts)
}

// beyond is what a pass in so many parts takes beyond its makespan: what it was seen to, or what lies between the nearest degrees that were timed. Some of it
// is there in any pass, as routing is; the rest is what overlap costs, when a processor that computes has to move rows as well: it is taken to grow
// as does the share of the work that overlaps, 1 − 1/parts.
func (p *profiled) beyond(parts int) float64 {
	i := slices.IndexFunc(p.Timed, func(d DegreeSeconds) bool { return d.Parts >= parts })
	after := &p.Timed[i]
	if after.Parts == parts {
		return p.seenBeyond(after)
	}
	before := &p.Timed[i-1]
	overlapping := func(parts int) float64 { return 1 - 1/float64(parts) }
	share := (overlapping(parts) - overlapping(before.Parts)) / (overlapping(after.Parts) - overlapping(before.Parts))
	return (1-share)*p.seenBeyond(before) + share*p.seenBeyond(after)
}

// seenBeyond is what passes in d's parts took beyond their makespan.
func (p *profiled) seenBeyond(d *DegreeSeconds) float64 {
	s, chunks := d.of(p.pass), 0
	if s.Chunks > 0 {
		chunks = 1
	}
	return s.Whole - p.makespan(d.Parts, chunks)
}

// makespan is that of the graph of so many parts, with so many of the background's chunks.
func (p *profiled) makespan(parts, chunks int) float64 {
	g := schedule.Pipeline{
		Pass: p.pass, Chunks: parts, Background: chunks, SplitBackward: p.Timed[0].of(p.pass).Weights > 0,
	}.Graph()
	for i := range g.Tasks {
		g.Tasks[i].Work = schedule.Work{Starts: 1, Size: 1 / float64(parts)}
		if op := g.Tasks[i].Op; op == schedule.Shared || op == schedule.GradReduce {
			g.Tasks[i].Work.Size = 1
		}
	}
	line := schedule.Simulate(g, &p.costs)
	return line.Makespan()
}

// Of two degrees, those within alike of each other may be the same: so near, a median of a few steps says little. What has not been timed may be off by
// doubtful.
const alike, doubtful = 1.05, 1.10

// contenders are the degrees, powers of two up to most and most itself, that may be the fastest in one of the passes.
func (p *OverlapProfile) contenders() (list []int) {
	passes := []*profiled{p.profiled(schedule.Forward), p.profiled(schedule.Backward)}
	candidates := powersUpTo(p.Most)
	for _, d := range candidates {
		if slices.ContainsFunc(passes, func(of *profiled) bool { return of.mayBeBest(d, candidates) }) {
			list = append(list, d)
		}
	}
	return list
}

// mayBeBest tells whether so many parts may be the fastest of the candidates.
func (p *profiled) mayBeBest(parts int, candidates []int) bool {
	least := p.time(parts, 0)
	margin := doubtful
	if p.timed(parts) {
		margin = alike
	}
	for _, d := range candidates {
		if p.time(d, 0)*margin < least {
			return false
		}
	}
	return true
}

// timed tells whether so many parts were timed.
func (p *OverlapProfile) timed(parts int) bool {
	return slices.ContainsFunc(p.Timed, func(d DegreeSeconds) bool { return d.Parts == parts })
}

// powersUpTo lists the powers of two below most, and most.
func powersUpTo(most int) (list []int) {
	for d := 1; d < most; d *= 2 {
		list = append(list, d)
	}
	return append(list, most)
}
