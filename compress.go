package switchyard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/param"
	"github.com/switchyard-moe/switchyard/lsh"
)

// When says when a layer compresses.
type When int

const (
	// Never sends every row as it is.
	Never When = iota
	// Always compresses every pass of training.
	Always
	// Auto compresses while a rank's link is so slow that the bytes saved take longer than the hashing. Each rank measures both and
	// decides for its own rows, so that results depend on the clock.
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
	if err := c.LSH.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("switchyard: Config.Compression.LSH: %w", err))
	}
	return errors.Join(faults...)
}

// String is the settings that all ranks must share.
func (c Compression) String() string {
	c.LSH.Workers = 0
	return fmt.Sprintf("{When:%d LSH:%+v Assign:%t}", c.When, c.LSH, c.Assign != nil)
}

// squeeze is a layer's compression, from pass to pass.
type squeeze struct {
	Compression
	lsh   *lsh.Compressor
	gains *param.Set // of lsh.LearnedGain, else nil
	judge judge
	rows  blas32.General // scratch: rows sorted by expert, until the pass ends
	full  blas32.General // scratch: their answers
	ends  []int          // scratch: of each expert's rows
}

// CompressionStats tells what compression did to a rank's rows in one forward pass, and the backward pass before it.
type CompressionStats struct {
	// Rows is how many rows there were, and Travelled how many went in their place; as many where the pass was not compressed.
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
	if c.LSH.Compensation == lsh.LearnedGain {
		s.gains = param.NewSet(param.Tensor{Name: "gain", Shape: []int{l.cfg.Experts}})
		copy(s.gains.Value, s.lsh.Gains())
	}
	l.squeeze = s
	return nil
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
	if l.squeeze == nil || !p.side.Train {
		return false
	}
	return l.squeeze.When == Always || l.squeeze.judge.favours()
}

// dispatchCompressed sends the centroids of the tokens' rows to the experts.
func (l *Layer) dispatchCompressed(ctx context.Context, p *pass) (*alltoall.Handle, blas32.General, error) {
	begin := time.Now()
	centroids := l.compress(p)
	c := l.squeezedCounts(p)
	l.sampleResidual(p, centroids)
	p.squeezing += time.Since(begin)
	return l.exchange.Dispatch(ctx, c, centroids)
}

// compress begins the pass's compression and returns its centroids.
func (l *Layer) compress(p *pass) blas32.General {
	s, d := l.squeeze, p.decision
	s.rows = resize(s.rows, d.NumRows(), l.cfg.Dim)
	d.Order(s.rows, p.x)
	if s.gains != nil {
		copy(s.lsh.Gains(), s.gains.Value)
	}
	s.ends = append(s.ends[:0], make([]int, d.Experts)...)
	c := p.counts()
	row := 0
	for e := range s.ends {
		row += sum(c.Rows[e*c.Leaves : (e+1)*c.Leaves])
		s.ends[e] = row
	}
	var centroids blas32.General
	if s.Assign != nil {
		centroids, p.squeezed = s.lsh.CompressAs(s.rows, s.Assign(s.rows, s.ends))
	} else {
		centroids, p.squeezed = s.lsh.Compress(s.rows, s.ends)
	}
	return centroids
}

// squeezedCounts counts the centroids that go to each expert. Where each is a row they belong to the rows' groups of tokens. Elsewhere
// they mix those, and all stand in the rank's first.
func (l *Layer) squeezedCounts(p *pass) alltoall.Counts {
	c, clusters := p.counts(), p.squeezed.Clusters()
	for e := range p.decision.Experts {
		row, rowEnd, first, end := clusters.Group(e)
		if of := c.Rows[e*c.Leaves : (e+1)*c.Leaves]; end-first < rowEnd-row {
			clear(of)
			of[0] = end - first
		}
	}
	return c
}

// sampleResidual measures how far some rows are from their centroids.
func (l *Layer) sampleResidual(p *pass, centroids blas32.General) {
	const most = 128
	x, of := l.squeeze.rows, p.squeezed.Clusters().Of
	var off, all float64
	for i := 0; i < x.Rows; i += (x.Rows + most - 1) / most {
		mean := rowOf(centroids, int(of[i]))
		for j, v := range rowOf(x, i) {
			d := float64(v) - float64(mean[j])
			off += d * d
			all += float64(v) * float64(v)
		}
	}
	p.residual = relative(off, all)
}

// restoreCompressed makes the answers of the rows of those of their centroids.
func (l *Layer) restoreCompressed(p *pass, answers blas32.General) blas32.General {
	if p.squeezed == nil {
		return answers
	}
	defer p.stopwatch(time.Now())
	s := l.squeeze
	s.full = resize(s.full, s.rows.Rows, l.cfg.Dim)
	p.squeezed.Restore(s.full, answers)
	return s.full
}

// backwardCompressed makes the gradients of the centroids' answers of those of the rows'.
func (l *Layer) backwardCompressed(p *pass, drows blas32.General) blas32.General {
	defer l.enterGains(p)
	if p.squeezed == nil {
		return drows
	}
	defer p.stopwatch(time.Now())
	return p.squeezed.RestoreBackward(drows)
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

// orderCompressed makes the gradients of the rows of those of their centroids. drows is what backwardCompressed got.
func (l *Layer) orderCompressed(p *pass, drows, back blas32.General) blas32.General {
	if p.squeezed == nil {
		return back
	}
	defer p.stopwatch(time.Now())
	p.squeezed.CompressBackward(drows, back)
	return drows
}

func (p *pass) stopwatch(begin time.Time) { p.squeezing += time.Since(begin) }

// noteCompression tells the statistics, and for Auto the judge, of the pass.
func (l *Layer) noteCompression(p *pass, plan *alltoall.Plan) {
	s := l.squeeze
	if s == nil || !p.side.Train {
		return
	}
	note := CompressionStats{Rows: p.decision.NumRows(), Travelled: plan.SentRows(), Residual: p.residual, Time: s.judge.spent}
	first, end := l.layout.place.Of(l.layout.seat)
	c := p.counts()
	own := sum(c.Rows[first*c.Leaves : end*c.Leaves])
	wide := 4 * l.cfg.Dim
	note.BytesBefore = (note.Rows - own) * wide
	note.BytesAfter = (plan.SentRows() - plan.Sent[l.layout.seat]) * wide
	l.stats.Compression = note
}

// exchanged tells the judge how long an exchange of the pass's rows took.
func (l *Layer) exchanged(p *pass, begin time.Time) {
	if l.squeeze == nil {
		return
	}
	plan := p.handle.Plan()
	own := plan.Sent[l.layout.seat]
	l.squeeze.judge.exchanged(4*l.cfg.Dim*max(plan.SentRows()-own, plan.Received()-own), time.Since(begin))
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
	wide := 4 * l.cfg.Dim * (l.layout.parallel - 1) / l.layout.parallel // of a row, where experts take as many
	rate := float64(s.lsh.Config().Rate)
	if p.squeezed != nil {
		s.judge.compressed(p.decision.NumRows(), p.squeezing)
		rate = p.squeezed.Clusters().Rate()
	} else if s.judge.wantsTrial() {
		begin := time.Now()
		l.compress(p)
		s.judge.tried(p.decision.NumRows(), time.Since(begin))
		p.squeezed.Release()
		p.squeezed = nil
	}
	s.judge.decide(p.decision.NumRows(), wide, rate)
}
