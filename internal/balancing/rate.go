package balancing

// rate is how long rows took to compute, the last passes counting most.
type rate struct{ nanos, rows float64 }

// forget is the part of what a rate has learned that each pass leaves.
const forget = 15.0 / 16

func (r *rate) learn(nanos, rows float64) {
	r.nanos, r.rows = r.nanos*forget+nanos, r.rows*forget+rows
}

// slowest is the most that a row counts as: a second.
const slowest = 1e12

// LeafRows is how many rows' time a leaf of an expert takes besides in training, where it has rows:
// a row costs 6 operations a parameter, and the gradient of a leaf a read and a write of each from
// far away. With parameters of 6 MB it was 10 of a rank alone, and 7 to 24 of four on two cores.
const LeafRows = 16

// learn notes how long the pass took to compute.
func (p *Pass) learn() {
	if p.computed == 0 || p.train && !p.wentBack {
		return
	}
	p.stage.rates[index(p.train)].learn(float64(p.nanos), float64(p.computed))
}

// Count notes what is computed here of a chunk: the rows that end at ends for each expert and leaf.
func (p *Pass) Count(ends []int) {
	if p == nil {
		return
	}
	before := 0
	for _, end := range ends {
		if end > before && p.trains() {
			p.computed += LeafRows
		}
		p.computed += end - before
		before = end
	}
}

// RowTime is the picoseconds that this rank takes to compute a row in such a pass, without what
// leaves cost, at least 1, or 0 if it is not known.
func (p *Pass) RowTime() int64 {
	s := p.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rates[index(p.train)]
	if r.rows == 0 {
		return 0
	}
	return int64(min(max(1000*r.nanos/r.rows, 1), slowest))
}

func index(train bool) int {
	if train {
		return 1
	}
	return 0
}
