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
	"github.com/switchyard-moe/switchyard/lsh"
)

// Rows describes the rows of a pass before they are compressed.
type Rows struct {
	// Counts has the number of rows of each expert, by token group.
	Counts alltoall.Counts
	// Order puts the rows, sorted by expert, in a packed matrix that has room for them.
	Order func(to blas32.General)
}

// number is that of the rows.
func (r *Rows) number() int { return mat.Sum(r.Counts.Rows) }

// Pass is what a compressed forward pass keeps for its backward pass. A nil Pass is one that was
// not compressed.
type Pass struct {
	// Centroids are the rows that travel, sorted by expert, and Counts is how many of them go to
	// each expert.
	Centroids blas32.General
	Counts    alltoall.Counts
	// Fault is what was wrong with the clusters of [Config.Assign]; the rows then travel as they
	// are.
	Fault error
	// Spent is the time that compression has taken in the pass so far, messages left out.
	Spent time.Duration

	lsh      *lsh.Pass
	gathered *nodegather.Rows // nil if clusters are of the rank's own rows
	drows    blas32.General   // gradients of the answers of the rows that are clustered here
	residual float64
}

// Release gives the pass's memory back. The pass must not be used afterwards.
func (p *Pass) Release() {
	if p.lsh != nil {
		p.lsh.Release()
		p.lsh = nil
	}
	if p.gathered != nil {
		p.gathered.Release()
		p.gathered = nil
	}
}

// Begin compresses the rows of a pass. Every rank of a node calls it if the stage gathers. After an
// error the pass, if there is one, is to be released.
func (s *Stage) Begin(ctx context.Context, rows Rows) (*Pass, error) {
	p := &Pass{}
	x, ends := s.ordered(&rows)
	if s.cfg.Gather != nil {
		var err error
		if p.gathered, err = s.cfg.Gather.Gather(ctx, rows.Counts, x); err != nil {
			return p, err
		}
		if p.gathered != nil {
			x, ends = p.gathered.Rows, p.gathered.Ends
		}
	}
	begin := time.Now()
	s.compress(p, x, ends, false)
	s.count(p, rows.Counts)
	p.residual = residual(p.lsh.Clusters(), x, p.Centroids)
	p.Spent += time.Since(begin)
	return p, nil
}

// ordered returns the rows sorted by expert, and where those of each expert end.
func (s *Stage) ordered(rows *Rows) (x blas32.General, ends []int) {
	s.rows = mat.Resize(s.rows, rows.number(), s.cfg.Dim)
	rows.Order(s.rows)
	ends = make([]int, s.cfg.Experts)
	row, leaves := 0, rows.Counts.Leaves
	for e := range ends {
		row += mat.Sum(rows.Counts.Rows[e*leaves : (e+1)*leaves])
		ends[e] = row
	}
	return s.rows, ends
}

// compress makes the centroids of rows: in a probe as if the policy wanted them of every expert.
func (s *Stage) compress(p *Pass, x blas32.General, ends []int, probe bool) {
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
	case s.policy != nil && !probe:
		p.Centroids, p.lsh = s.lsh.CompressSome(x, ends, s.policy.wants)
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
		if of := c.Rows[e*c.Leaves : (e+1)*c.Leaves]; p.gathered != nil || end-first < rowEnd-row {
			clear(of)
			if end > first {
				of[0] = end - first
			}
		}
	}
	p.Counts = c
}

// Restore makes the rows' answers of those of their centroids. The result is valid until the next
// pass.
func (s *Stage) Restore(ctx context.Context, p *Pass, answers blas32.General) (blas32.General, error) {
	if p == nil {
		return answers, nil
	}
	begin := time.Now()
	s.full = mat.Resize(s.full, len(p.lsh.Clusters().Of), s.cfg.Dim)
	p.lsh.Restore(s.full, answers)
	p.Spent += time.Since(begin)
	if p.gathered == nil {
		return s.full, nil
	}
	defer s.exchanged(time.Now())
	s.home = mat.Resize(s.home, s.rows.Rows, s.cfg.Dim)
	return s.home, p.gathered.Scatter(ctx, s.home, s.full)
}

// Leaves are the leaves of a rank in the tree in which gradients are summed: its token groups.
type Leaves struct {
	First, Count int
	// Do runs what enters them; nil just runs it.
	Do func(do func())
}

// RestoreBackward takes the gradients of the rows' answers and returns those of the centroids'. It
// adds the gradient of learned gains to their parameters: all of it in the first of the rank's
// leaves, and zeros in the others, since every leaf must be entered, also by a pass that was not
// compressed.
func (s *Stage) RestoreBackward(ctx context.Context, p *Pass, drows blas32.General, leaves Leaves) (blas32.General, error) {
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
	begin := time.Now()
	defer func() { p.Spent += time.Since(begin) }()
	return p.lsh.RestoreBackward(p.drows), nil
}

func (s *Stage) gatherGradients(ctx context.Context, p *Pass) (err error) {
	defer s.exchanged(time.Now())
	s.home = mat.Resize(s.home, p.drows.Rows, s.cfg.Dim)
	p.drows, err = p.gathered.GatherGradients(ctx, p.drows, s.home)
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
	if leaves.Do == nil {
		enter()
		return
	}
	leaves.Do(enter)
}

// CompressBackward makes the gradients of the rows of those of their centroids, back. drows is what
// RestoreBackward got, and is written over.
func (s *Stage) CompressBackward(ctx context.Context, p *Pass, drows, back blas32.General) (blas32.General, error) {
	if p == nil {
		return back, nil
	}
	begin := time.Now()
	p.lsh.CompressBackward(p.drows, back)
	p.Spent += time.Since(begin)
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
