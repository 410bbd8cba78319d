package compression

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/internal/rowgradients"
	"github.com/switchyard-moe/switchyard/lsh"
)

// Rows describes the rows of a pass before they are compressed.
type Rows struct {
	// Counts has the number of rows of each expert, by token group.
	Counts alltoall.Counts
	// Order puts the rows, sorted by expert, in a packed matrix that has room for them.
	Order func(to blas32.General)
	// Step is that of training.
	Step int
}

// number is that of the rows.
func (r *Rows) number() int { return mat.Sum(r.Counts.Rows) }

// Pass is what a compressed forward pass keeps for its backward pass. A nil Pass is one that was
// not compressed.
type Pass struct {
	// Centroids are the rows that travel, sorted by expert, and Counts is how many of them go to
	// each expert. In some passes sampled rows are among them, behind the centroids of their expert.
	Centroids blas32.General
	Counts    alltoall.Counts
	// Fault is what was wrong with the clusters of [Config.Assign]; the rows then travel as they
	// are.
	Fault error
	// Spent is the time that compression has taken in the pass so far, messages left out.
	Spent time.Duration

	stage    *Stage
	rows     alltoall.Counts // of the rows that are clustered here
	memory   *memory
	lsh      *lsh.Pass
	gathered *nodegather.Rows // nil if clusters are of the rank's own rows
	drows    blas32.General   // gradients of the answers of the rows that are clustered here
	residual float64
	depths   []float64 // what the control loop has learned from the rows, nil if there is none
	sampled  bool      // memory.sample travels too
	errors   squares   // of the sampled rows
}

// memory is the matrices of a pass, which later passes use again.
type memory struct {
	rows blas32.General // sorted by expert
	full blas32.General // the answers of those that are clustered
	home blas32.General // the answers of the rank's own rows, if those are others

	sample sample
}

// begin returns a pass in the memory of one that has been released, if there is any.
func (s *Stage) begin() *Pass {
	m := s.free.Take()
	if m == nil {
		m = new(memory)
	}
	return &Pass{stage: s, memory: m}
}

// Release gives the pass's memory back. The pass must not be used afterwards, nor what its methods
// returned.
func (p *Pass) Release() {
	if p.lsh != nil {
		p.stage.cfg.Turn.Do(p.lsh.Release)
		p.lsh = nil
	}
	if p.gathered != nil {
		p.gathered.Release()
		p.gathered = nil
	}
	p.stage.free.Give(p.memory)
	p.memory = nil
}

// Begin compresses the rows of the pass of a number. Every rank of a node calls it if the stage
// gathers. After an error the pass, if there is one, is to be released.
func (s *Stage) Begin(ctx context.Context, number uint64, rows Rows) (*Pass, error) {
	p := s.begin()
	x, ends := s.ordered(p, &rows)
	if s.cfg.Gather != nil {
		var err error
		if p.gathered, err = s.cfg.Gather.Gather(ctx, number, rows.Counts, x); err != nil {
			return p, err
		}
		if p.gathered != nil {
			x, ends = p.gathered.Rows, p.gathered.Ends
		}
	}
	s.compute(p, func() {
		before := s.lsh.Depths()
		s.compress(p, x, ends, rows.Step)
		p.residual = residual(p.lsh.Clusters(), x, p.Centroids)
		if p.sampled = s.samples(rows.Step); p.sampled {
			p.Centroids = p.memory.sample.add(p.Centroids, x, p.lsh.Clusters())
		}
		s.count(p, rows.Counts)
		p.rows = p.clustered(rows.Counts)
		if p.depths = s.lsh.Depths(); before != nil { // the pass may be repeated
			s.setDepths(before)
		}
	})
	return p, nil
}

// compute runs do in turn with all else that computes, and counts its time.
func (s *Stage) compute(p *Pass, do func()) {
	s.cfg.Turn.Do(func() {
		defer func(begin time.Time) { p.Spent += time.Since(begin) }(time.Now())
		do()
	})
}

// ordered returns the rows sorted by expert, and where those of each expert end.
func (s *Stage) ordered(p *Pass, rows *Rows) (x blas32.General, ends []int) {
	p.memory.rows = mat.Resize(p.memory.rows, rows.number(), s.cfg.Dim)
	rows.Order(p.memory.rows)
	ends = make([]int, s.cfg.Experts)
	row, leaves := 0, rows.Counts.Leaves
	for e := range ends {
		row += mat.Sum(rows.Counts.Rows[e*leaves : (e+1)*leaves])
		ends[e] = row
	}
	return p.memory.rows, ends
}

// compress makes the centroids of rows of a step.
func (s *Stage) compress(p *Pass, x blas32.General, ends []int, step int) {
	if err := s.lsh.SetRate(s.rate(step)); err != nil {
		panic(err.Error())
	}
	if s.gains != nil {
		copy(s.lsh.Gains(), s.gains.Value)
	}
	switch {
	case s.cfg.Assign != nil:
		clusters := s.cfg.Assign(x, ends)
		if p.Fault = checkAssigned(clusters, ends); p.Fault != nil { // the other ranks count on rows
			p.Centroids, p.lsh = s.lsh.CompressSome(x, ends, func(int) bool { return false })
			return
		}
		p.Centroids, p.lsh = s.lsh.CompressAs(x, clusters)
	default:
		p.Centroids, p.lsh = s.lsh.Compress(x, ends)
	}
}

// checkAssigned returns what is wrong with clusters of rows of experts that end at ends.
func checkAssigned(c *lsh.Clusters, ends []int) error {
	switch {
	case c == nil:
		return errors.New("no clusters")
	case !slices.Equal(c.RowEnds, ends):
		return fmt.Errorf("rows that end at %v in clusters that end at %v", ends, c.RowEnds)
	}
	return c.Validate()
}

// count counts the centroids that go to each expert. If each is a row of this rank they belong to
// the rows' token groups. Otherwise they mix those, and all are counted in the rank's first group.
func (s *Stage) count(p *Pass, c alltoall.Counts) {
	c.Rows = slices.Clone(c.Rows)
	clusters := p.lsh.Clusters()
	for e := range s.cfg.Experts {
		row, rowEnd, first, end := clusters.Group(e)
		if p.gathered != nil || end-first < rowEnd-row {
			n := end - first
			if p.sampled {
				begin, end := p.memory.sample.of(e)
				n += end - begin
			}
			inFirst(c, e, n)
		}
	}
	p.Counts = c
}

// inFirst counts n rows for an expert, all of them in the first token group, if there are any.
func inFirst(c alltoall.Counts, expert, n int) {
	of := c.Rows[expert*c.Leaves : (expert+1)*c.Leaves]
	clear(of)
	if n > 0 {
		of[0] = n
	}
}

// Restore makes the rows' answers of those of their centroids. The result is valid until the pass
// is released.
func (s *Stage) Restore(ctx context.Context, p *Pass, answers blas32.General) (blas32.General, error) {
	if p == nil {
		return answers, nil
	}
	m := p.memory
	s.compute(p, func() {
		m.full = mat.Resize(m.full, len(p.lsh.Clusters().Of), s.cfg.Dim)
		if !p.sampled {
			p.lsh.Restore(m.full, answers)
			return
		}
		m.sample.answers = m.sample.part(m.sample.answers, answers, p.lsh.Clusters())
		p.lsh.Restore(m.full, m.sample.answers)
		p.errors = m.sample.compare(m.full, answers, p.lsh.Clusters())
	})
	if p.gathered == nil {
		return m.full, nil
	}
	defer s.exchanged(time.Now())
	m.home = mat.Resize(m.home, m.rows.Rows, s.cfg.Dim)
	return m.home, p.gathered.Scatter(ctx, m.home, m.full)
}

// Leaves are the leaves of a rank in the tree in which gradients are summed: its token groups.
type Leaves struct {
	First, Count int
	// Of, if it is not nil, runs what enters them.
	Of interface{ Do(do func()) }
}

// RestoreBackward takes the gradients of the rows' answers and returns those of the centroids'. It
// adds the gradient of learned gains to their parameters: all of it in the first of the rank's
// leaves, and zeros in the others, since every leaf must be entered, also by a pass that was not
// compressed.
func (s *Stage) RestoreBackward(
	ctx context.Context, p *Pass, drows blas32.General, leaves Leaves,
) (dcentroids blas32.General, err error) {
	if s == nil {
		return drows, nil
	}
	defer s.enterGains(p, leaves)
	if p == nil {
		return drows, nil
	}
	p.drows = drows
	if p.gathered != nil {
		if err := s.gatherGradients(ctx, p); err != nil {
			return blas32.General{}, err
		}
	}
	s.compute(p, func() {
		if dcentroids = p.lsh.RestoreBackward(p.drows); p.sampled {
			t := &p.memory.sample
			t.dsent = t.join(t.dsent, dcentroids, blas32.General{}, p.lsh.Clusters())
			dcentroids = t.dsent
		}
	})
	return dcentroids, nil
}

func (s *Stage) gatherGradients(ctx context.Context, p *Pass) (err error) {
	defer s.exchanged(time.Now())
	home := &p.memory.home
	*home = mat.Resize(*home, p.drows.Rows, s.cfg.Dim)
	p.drows, err = p.gathered.GatherGradients(ctx, p.drows, *home)
	return err
}

func (s *Stage) enterGains(p *Pass, leaves Leaves) {
	if s.gains == nil || s.gains.Frozen {
		return
	}
	enter := func() {
		for i := range leaves.Count {
			if g := s.gains.Grad.Leaf(leaves.First + i); i == 0 && p != nil {
				copy(g, p.lsh.GainGrads())
			}
		}
	}
	if leaves.Of == nil {
		enter()
		return
	}
	leaves.Of.Do(enter)
}

// RowGradients begins to carry the gradients of the answers to all rows, which RestoreBackward has
// got; nil means that those of the centroids are all that travel. After an error the pass, if there
// is one, is to be released.
func (s *Stage) RowGradients(number uint64, p *Pass) (rows *rowgradients.Pass, err error) {
	if p == nil || s.cfg.Gradients == nil {
		return nil, nil
	}
	s.compute(p, func() {
		rows, err = s.cfg.Gradients.Begin(number, p.rows, p.drows, p.lsh.Clusters())
	})
	return rows, err
}

// clustered counts the rows that are clustered here, each in the token group of its centroid, if c
// counts those of the rank: those of an expert are all in the first if its centroids are.
func (p *Pass) clustered(c alltoall.Counts) alltoall.Counts {
	c.Rows = slices.Clone(c.Rows)
	for e := range p.stage.cfg.Experts {
		row, end, first, last := p.lsh.Clusters().Group(e)
		if p.gathered != nil || last-first < end-row {
			inFirst(c, e, end-row)
		}
	}
	return c
}

// CompressBackward makes the gradients of the rows of those of their centroids, back, or of what
// has come back of RowGradients. drows is what RestoreBackward got, and is written over.
func (s *Stage) CompressBackward(ctx context.Context, p *Pass, drows, back blas32.General) (blas32.General, error) {
	if p == nil {
		return back, nil
	}
	s.compute(p, func() {
		if s.cfg.Gradients != nil {
			mat.Copy(p.drows, back)
			return
		}
		if t := &p.memory.sample; p.sampled {
			t.back = t.part(t.back, back, p.lsh.Clusters())
			back = t.back
		}
		p.lsh.CompressBackward(p.drows, back)
	})
	if p.gathered == nil {
		return drows, nil
	}
	defer s.exchanged(time.Now())
	return drows, p.gathered.Scatter(ctx, drows, p.drows)
}

// exchanged counts the time since begin as one of messages.
func (s *Stage) exchanged(begin time.Time) {
	if s.cfg.Exchanging != nil {
		s.cfg.Exchanging.Add(int64(time.Since(begin)))
	}
}
