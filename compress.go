package switchyard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/internal/param"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
)

// When says when a layer compresses.
type When int

const (
	// Never sends every row as it is.
	Never When = iota
	// Always compresses every pass of training.
	Always
	// Auto compresses what goes to a peer while the link there is so slow that the bytes saved take longer than the hashing. The links are
	// Config.Links, which NewLayer measures where they are not given. What hashing takes each rank measures itself, and decides for its
	// own rows, so that results depend on the clock.
	Auto

	whens int = iota
)

// Compression has the rows that are bound for one expert, and are alike, travel as their centroid, and be computed as one: LSH-MoE (Nie
// et al. 2024), as package lsh tells. Its zero value is none.
//
// A compressed pass is not causal: what a token gets back depends on later tokens of its sequence and on the rest of the batch. So
// Eval never compresses, and the loss of an uncompressed evaluation is the figure to quote. Nor has a compressed pass the same
// bits on another number of ranks: rows are compressed where they leave, and others meet there.
type Compression struct {
	// When says when to compress.
	When When
	// LSH says how rows become clusters, and their answers those of the rows.
	LSH lsh.Config
	// Nodes has clusters made once a node (Config.Topology) instead of once a rank: the rows of its ranks that are bound for one expert
	// meet on one of them first. The more rows are clustered together, the nearer they are to their centroids. It needs Always, as
	// a node's ranks have to compress the same passes.
	Nodes bool
	// From is the first step that may be compressed, the ones before warm up; and Until, where it is not 0, the first one after that may not: the
	// last steps of training teach the experts rows as they are, which evaluation sends them. Steps count calls of Layer.Step, from 0.
	From, Until int
	// Assign, where it is not nil, says which rows travel as one in place of LSH's hashing: rows x of experts that end at ends, those of
	// one rank. It is for studies, and must be the same function on every rank.
	Assign func(x blas32.General, ends []int) *lsh.Clusters
}

// validate returns all that is wrong with c.
func (c Compression) validate() error {
	var faults []error
	if c.When < 0 || int(c.When) >= whens {
		faults = append(faults, fmt.Errorf("switchyard: Config.Compression.When is %d, want 0 to %d", c.When, whens-1))
	}
	if c.From < 0 || c.Until < 0 {
		faults = append(faults, fmt.Errorf("switchyard: Config.Compression.From is %d and Until %d, must not be negative", c.From, c.Until))
	}
	if c.Nodes && c.When == Auto {
		faults = append(faults, errors.New("switchyard: Config.Compression.Nodes with When Auto, want Always or Never"))
	}
	if err := c.LSH.Validate(); err != nil {
		faults = append(faults, errtext.Errorf("switchyard: Config.Compression.LSH: %w", err))
	}
	return errors.Join(faults...)
}

// String is the settings that all ranks must share.
func (c Compression) String() string {
	c.LSH.Workers = 0
	return fmt.Sprintf("{When:%d LSH:%+v Nodes:%t From:%d Until:%d Assign:%t}", c.When, c.LSH, c.Nodes, c.From, c.Until, c.Assign != nil)
}

// squeeze is a layer's compression, from pass to pass.
type squeeze struct {
	Compression
	lsh    *lsh.Compressor
	gains  *param.Set // where compensation learns them, else nil
	judge  judge
	gather *nodegather.Gatherer // nil where clusters are a rank's own
	wanted func(e int) bool     // of which experts' rows clusters are made; nil for all
	rows   blas32.General       // scratch: rows sorted by expert, until the pass ends
	full   blas32.General       // scratch: the answers of those that are clustered
	home   blas32.General       // scratch: the answers of the rank's own, where those are others
}

// CompressionStats tells what compression did to a rank's rows in one forward pass, and the backward pass before it.
type CompressionStats struct {
	// Rows is how many rows there were, with Compression.Nodes those of the node that met here, and Travelled how many went in their place; as many where the pass was not compressed.
	Rows, Travelled int
	// BytesBefore and BytesAfter are the bytes of those that leave this rank, one way of the four.
	BytesBefore, BytesAfter int
	// Residual is how far rows are from what travels in their place: the root of the mean square of the differences over that of the
	// rows, among a sample of them.
	Residual float64
	// Time is what hashing, centroids and compensation took.
	Time time.Duration
}

// newSqueeze makes the layer's compression, if it has any.
func (l *Layer) newSqueeze() (err error) {
	c := l.cfg.Compression
	if c.When == Never {
		return nil
	}
	s := &squeeze{Compression: c}
	if s.lsh, err = lsh.New(c.LSH, l.cfg.Dim, l.cfg.Experts); err != nil {
		return err
	}
	if c.LSH.Compensation.Learned() {
		shape := []int{l.cfg.Experts}
		if c.LSH.Compensation == lsh.LearnedChannels {
			shape = append(shape, l.cfg.Dim)
		}
		s.gains = param.NewSet(param.Tensor{Name: "gain", Shape: shape})
		copy(s.gains.Value, s.lsh.Gains())
	}
	if c.Nodes {
		if s.gather, err = l.newGatherer(); err != nil {
			return err
		}
	}
	if c.When == Auto {
		links := l.cfg.Links
		if links == (alltoall.Links{}) {
			if links, err = l.world.linksOf(l.cfg.Topology); err != nil {
				return err
			}
		}
		s.judge = newJudge(links, l.layout.topology(l.cfg.Topology), l.layout.seat, l.layout.parallel)
		s.wanted = l.wanted
	}
	l.squeeze = s
	return nil
}

// newGatherer connects the ranks of this one's node that share its copy of the experts.
func (l *Layer) newGatherer() (*nodegather.Gatherer, error) {
	top := l.layout.topology(l.cfg.Topology)
	if len(top.Node) == 0 {
		top = alltoall.Nodes(l.layout.parallel, l.layout.parallel)
	}
	cfg := nodegather.Config{
		Placement: l.layout.place, Experts: l.cfg.Experts, Node: top.Node, Rank: l.layout.seat,
		Dim: l.cfg.Dim, MaxRows: l.cfg.MaxRows, LeafRows: l.slots(),
	}
	members, mine := l.layout.oneCopy(), cfg.Peers()
	peers := make([]transport.Rank, len(mine))
	for i, r := range mine {
		peers[i] = members[r]
	}
	view, err := l.world.View(peers)
	if err != nil {
		return nil, err
	}
	return nodegather.New(view, cfg)
}

// wanted tells whether the judge would compress the rows of an expert.
func (l *Layer) wanted(e int) bool {
	for seat, yes := range l.squeeze.judge.yes {
		if begin, end := l.layout.place.Of(seat); begin <= e && e < end {
			return yes
		}
	}
	return false
}

// gainParams returns the learned gains, or nil.
func (l *Layer) gainParams() *param.Set {
	if l.squeeze == nil {
		return nil
	}
	return l.squeeze.gains
}

// compresses tells whether to compress the pass.
func (l *Layer) compresses(p *pass) bool {
	switch s := l.squeeze; {
	case s == nil || !p.side.Train || l.steps < s.From:
		return false
	case s.Until > 0 && l.steps >= s.Until:
		return false
	}
	return l.squeeze.When == Always || l.squeeze.judge.favours()
}

// beginCompressed begins the dispatch of the centroids of the tokens' rows.
func (l *Layer) beginCompressed(ctx context.Context, p *pass, parts int) (*alltoall.Handle, error) {
	x, ends, err := l.toCluster(ctx, p)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	centroids := l.compress(p, x, ends, false)
	l.checkMade(p, "forward", "the centroids of its rows", centroids)
	c := l.squeezedCounts(p)
	l.sampleResidual(p, x, centroids)
	p.squeezing += time.Since(begin)
	return l.beginParts(ctx, c, centroids, nil, parts)
}

// toCluster returns the rows that are to be clustered here, sorted by expert, and where those of each end: this rank's, or those of its
// node that meet here.
func (l *Layer) toCluster(ctx context.Context, p *pass) (x blas32.General, ends []int, err error) {
	s := l.squeeze
	x, ends = l.ordered(p)
	if s.gather == nil {
		return x, ends, nil
	}
	if p.gathered, err = s.gather.Gather(ctx, p.counts(), x); err != nil || p.gathered == nil {
		return x, ends, err
	}
	return p.gathered.Rows, p.gathered.Ends, nil
}

// ordered returns the pass's rows sorted by expert, and where those of each end.
func (l *Layer) ordered(p *pass) (x blas32.General, ends []int) {
	s, d := l.squeeze, p.decision
	s.rows = mat.Resize(s.rows, d.NumRows(), l.cfg.Dim)
	d.Order(s.rows, p.x)
	c := p.counts()
	ends = make([]int, d.Experts)
	row := 0
	for e := range ends {
		row += mat.Sum(c.Rows[e*c.Leaves : (e+1)*c.Leaves])
		ends[e] = row
	}
	return s.rows, ends
}

// compress begins the pass's compression and returns its centroids: in a trial as if the judge wanted it everywhere.
func (l *Layer) compress(p *pass, x blas32.General, ends []int, trial bool) (centroids blas32.General) {
	s := l.squeeze
	if s.gains != nil {
		copy(s.lsh.Gains(), s.gains.Value)
	}
	switch {
	case s.Assign != nil:
		clusters := s.Assign(x, ends)
		if err := checkAssigned(clusters, ends); err != nil {
			l.noteUnassigned(p, err)
			centroids, p.squeezed = s.lsh.CompressSome(x, ends, func(int) bool { return false }) // the others count on rows
			return centroids
		}
		centroids, p.squeezed = s.lsh.CompressAs(x, clusters)
	case s.wanted != nil && !trial:
		centroids, p.squeezed = s.lsh.CompressSome(x, ends, s.wanted)
	default:
		centroids, p.squeezed = s.lsh.Compress(x, ends)
	}
	return centroids
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

// squeezedCounts counts the centroids that go to each expert. Where each is a row of this rank they belong to the rows' groups of tokens.
// Elsewhere they mix those, and all stand in the rank's first.
func (l *Layer) squeezedCounts(p *pass) alltoall.Counts {
	c, clusters := p.counts(), p.squeezed.Clusters()
	for e := range p.decision.Experts {
		row, rowEnd, first, end := clusters.Group(e)
		if of := c.Rows[e*c.Leaves : (e+1)*c.Leaves]; p.gathered != nil || end-first < rowEnd-row {
			clear(of)
			if end > first {
				of[0] = end - first
			}
		}
	}
	return c
}

// sampleResidual measures how far some rows are from their centroids.
func (l *Layer) sampleResidual(p *pass, x, centroids blas32.General) {
	const most = 128
	of := p.squeezed.Clusters().Of
	var off, all float64
	for i := 0; i < x.Rows; i += (x.Rows + most - 1) / most {
		mean := mat.Row(centroids, int(of[i]))
		for j, v := range mat.Row(x, i) {
			d := float64(v) - float64(mean[j])
			off += d * d
			all += float64(v) * float64(v)
		}
	}
	p.residual = relative(off, all)
}

// restoreCompressed makes the answers of the rows of those of their centroids.
func (l *Layer) restoreCompressed(ctx context.Context, p *pass, answers blas32.General) (blas32.General, error) {
	if p.squeezed == nil {
		return answers, nil
	}
	s, begin := l.squeeze, time.Now()
	s.full = mat.Resize(s.full, len(p.squeezed.Clusters().Of), l.cfg.Dim)
	p.squeezed.Restore(s.full, answers)
	p.stopwatch(begin)
	if p.gathered == nil {
		return s.full, nil
	}
	defer l.clock(time.Now())
	s.home = mat.Resize(s.home, p.decision.NumRows(), l.cfg.Dim)
	return s.home, p.gathered.Scatter(ctx, s.home, s.full)
}

// backwardCompressed makes the gradients of the centroids' answers of those of the rows'.
func (l *Layer) backwardCompressed(ctx context.Context, p *pass, drows blas32.General) (blas32.General, error) {
	defer l.enterGains(p)
	if p.squeezed == nil {
		return drows, nil
	}
	p.drows = drows
	if p.gathered != nil {
		s, begin := l.squeeze, time.Now()
		s.home = mat.Resize(s.home, drows.Rows, l.cfg.Dim)
		var err error
		p.drows, err = p.gathered.GatherGradients(ctx, drows, s.home)
		l.clock(begin)
		if err != nil {
			return blas32.General{}, err
		}
	}
	defer p.stopwatch(time.Now())
	return p.squeezed.RestoreBackward(p.drows), nil
}

// enterGains enters the gradient of learned gains: in the first of this rank's groups of tokens for all of them, and zeros in the others,
// since every leaf of the tree of sums must be entered, also by a rank that did not compress.
func (l *Layer) enterGains(p *pass) {
	gains := l.gainParams()
	if gains == nil {
		return
	}
	first := p.batch.firstLeaf(l.world.Rank())
	for leaf := range p.ends {
		if g := gains.Grad.Leaf(first + leaf); leaf == 0 && p.squeezed != nil {
			copy(g, p.squeezed.GainGrads())
		}
	}
}

// orderCompressed makes the gradients of the rows of those of their centroids, which are in back. drows is what backwardCompressed got,
// and is written over.
func (l *Layer) orderCompressed(ctx context.Context, p *pass, drows, back blas32.General) (blas32.General, error) {
	if p.squeezed == nil {
		return back, nil
	}
	begin := time.Now()
	p.squeezed.CompressBackward(p.drows, back)
	p.stopwatch(begin)
	if p.gathered == nil {
		return drows, nil
	}
	defer l.clock(time.Now())
	return drows, p.gathered.Scatter(ctx, drows, p.drows)
}

func (p *pass) stopwatch(begin time.Time) { p.squeezing += time.Since(begin) }

// compressionOf tells what compression did to the pass.
func (l *Layer) compressionOf(p *pass, plan *alltoall.Plan) CompressionStats {
	s := l.squeeze
	if s == nil || !p.side.Train {
		return CompressionStats{}
	}
	note := CompressionStats{Rows: p.decision.NumRows(), Travelled: plan.SentRows(), Residual: p.residual, Time: s.judge.spent}
	first, end := l.layout.place.Of(l.layout.seat)
	var own int
	if p.squeezed != nil {
		clusters := p.squeezed.Clusters()
		note.Rows = len(clusters.Of)
		for e := first; e < end; e++ {
			row, rowEnd, _, _ := clusters.Group(e)
			own += rowEnd - row
		}
	} else {
		c := p.counts()
		own = mat.Sum(c.Rows[first*c.Leaves : end*c.Leaves])
	}
	wide := 4 * l.cfg.Dim
	note.BytesBefore = (note.Rows - own) * wide
	note.BytesAfter = (plan.SentRows() - plan.Sent[l.layout.seat]) * wide
	return note
}

// judgePass has the judge weigh the pass that ends, of which enough is known now.
func (l *Layer) judgePass(p *pass) {
	s := l.squeeze
	if s == nil {
		return
	}
	s.judge.spent = p.squeezing
	if s.When != Auto {
		return
	}
	rows, rate := p.decision.NumRows(), s.lsh.Config().Rate
	if p.squeezed != nil {
		clustered, centroids := p.squeezed.Clusters().Count(s.wanted)
		s.judge.compressed(clustered, p.squeezing)
		if clustered > 0 {
			rate = float64(centroids) / float64(clustered)
		}
	} else if s.judge.wantsTrial() {
		begin := time.Now()
		x, ends := l.ordered(p)
		l.compress(p, x, ends, true)
		s.judge.tried(rows, time.Since(begin))
		p.squeezed.Release()
		p.squeezed = nil
	}
	w, bytes := l.cfg.Wire, 0
	for _, f := range []alltoall.Format{w.Dispatch, w.Combine, w.DispatchBack, w.CombineBack} {
		bytes += f.Bytes(l.cfg.Dim)
	}
	s.judge.decide(bytes, rate)
}
