package switchyard

import "github.com/switchyard-moe/switchyard/schedule"

// profiled is what passes of one direction took in one part and in most parts, by which others are foretold: the makespan of their graph, where
// an operation takes α for each part and β for all rows, and what whole passes were seen to take beyond it.
type profiled struct {
	pass      schedule.Pass
	one, many OpSeconds
	most      int // parts, of many
}

// bestDegree returns the number of parts, a power of two up to most or most itself, that is fastest. One and most have been timed; what lies between is
// reckoned, and has to be clearly faster than the better of these.
func (p profiled) bestDegree() int {
	best, least := 1, p.time(1, 0)
	if t := p.time(p.most, 0); t*worthwhile < least {
		best, least = p.most, t
	}
	timed := least
	for d := 2; d < p.most; d *= 2 {
		if t := p.time(d, 0); t < least && t*clearly < timed {
			best, least = d, t
		}
	}
	return best
}

// mostChunks bounds the chunks of one pass.
const mostChunks = 64

// bestChunks returns how many of the background's chunks a pass in so many parts should run: those that take more time off what is left to do after it
// than they add to it.
func (p profiled) bestChunks(parts int) int {
	chunk := p.chunkTime()
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

// chunkTime is the seconds that a chunk takes.
func (p profiled) chunkTime() float64 {
	if n := p.one.Chunks + p.many.Chunks; n > 0 {
		return (p.one.Background + p.many.Background) / n
	}
	return 0
}

// time is what a pass takes in so many parts, with so many of the background's chunks. What it takes beyond the makespan is found by the two
// that were profiled. Some of it is there in any pass, as routing is; the rest is what overlap costs, when a processor that computes has to move rows as well:
// it is taken to grow as does the share of the work that overlaps, 1 − 1/parts.
func (p profiled) time(parts, chunks int) float64 {
	always := p.beyond(p.one, 1)
	return p.makespan(parts, chunks) + always + p.share(parts)*(p.beyond(p.many, p.most)-always)
}

// share is how much of the work that overlaps in most parts does so in these.
func (p profiled) share(parts int) float64 {
	if p.most == 1 {
		return 0
	}
	return (1 - 1/float64(parts)) / (1 - 1/float64(p.most))
}

// beyond is what the passes of which seen tells took beyond their makespan.
func (p profiled) beyond(seen OpSeconds, parts int) float64 {
	chunks := 0
	if seen.Chunks > 0 {
		chunks = 1
	}
	return seen.Whole - p.makespan(parts, chunks)
}

// makespan is that of the graph of so many parts, with so many of the background's chunks.
func (p profiled) makespan(parts, chunks int) float64 {
	g := pipeline(p.pass, parts, chunks)
	for i := range g.Tasks {
		g.Tasks[i].Work = schedule.Work{Starts: 1, Size: 1 / float64(parts)}
		if op := g.Tasks[i].Op; op == schedule.Shared || op == schedule.GradReduce {
			g.Tasks[i].Work.Size = 1
		}
	}
	line := schedule.Simulate(g, &schedule.Costs{
		schedule.Dispatch: p.cost(p.one.Dispatch, p.many.Dispatch), schedule.Expert: p.cost(p.one.Experts, p.many.Experts),
		schedule.Combine: p.cost(p.one.Combine, p.many.Combine),
		schedule.Shared:  {Beta: p.one.Aside}, schedule.GradReduce: {Beta: p.chunkTime()},
	})
	return line.Makespan()
}

// cost is that of an operation that took one in one part, and many in most.
func (p profiled) cost(one, many float64) schedule.Linear {
	alpha := 0.0
	if p.most > 1 {
		alpha = min(max((many-one)/float64(p.most-1), 0), one)
	}
	return schedule.Linear{Alpha: alpha, Beta: one - alpha}
}
