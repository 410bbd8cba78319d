package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// expertChoice is the gate in which experts choose their tokens. Experts and tokens have classes,
// one for all or one for each modality, and an expert chooses among the tokens of its own.
//
// Backward puts a decision and its state into free, for a later Route.
type expertChoice struct {
	set     *param.Set
	columns []columns // what tensor i of the set makes, up to the gate's last
	class   []int32   // of each expert
	classes int
	names   []string // of the classes, if there are several
	sigmoid bool
	over    Scope
	quota   func(class int, tokens int64) int64
	capped  *capped
	aux     *auxiliary

	dim, experts int

	free          []*Decision
	dlogits, draw grid
}

// columns is a range of experts, of whose logits one tensor is the matrix.
type columns struct{ first, count int }

// of returns the range's columns of m, which it aliases.
func (c columns) of(m blas32.General) blas32.General {
	return blas32.General{Rows: m.Rows, Cols: c.count, Stride: m.Stride, Data: m.Data[c.first:]}
}

// election is the state of a batch from Route to Backward.
type election struct {
	gate    *expertChoice
	d       *Decision
	ends    []int
	tokens  int
	train   bool
	class   []int32 // of each token, none for padding
	padding []bool
	clean   grid // a copy of x without padding
	logits  grid
	scores  grid     // of which weights are made
	keys    []uint32 // experts × tokens
	taken   []bool   // experts × tokens
	search  search
	aux     auxPass
	started bool
	err     error
	spent   bool
}

// none is the class of tokens that no expert may take.
const none = -1

// Params returns the parameters.
func (g *expertChoice) Params() *param.Set { return g.set }

// Route is described at [Gate].
func (g *expertChoice) Route(x blas32.General, b Batch) (*Decision, error) {
	c := g.begin(x, b)
	if g.consults(b.Train) {
		c.startSearch(0, c.tokens, Share{Index: 0, Count: 1})
		return alone(c)
	}
	return c.local()
}

// begin computes the scores of a batch. What is wrong with it stays in err.
func (g *expertChoice) begin(x blas32.General, b Batch) *election {
	checkBatch(x, b.Ends, g.dim)
	checkPadding(x, b)
	c := g.take()
	c.ends, c.tokens, c.train = append(c.ends[:0], b.Ends...), x.Rows, b.Train
	c.started, c.spent = false, false
	c.padding = append(c.padding[:0], b.Padding...)
	x = withoutPadding(x, c.padding, &c.clean)
	c.err = c.classify(b)
	g.project(c, x)
	if c.err == nil {
		c.err = checkFinite(&c.logits, c.ends)
	}
	if c.err == nil {
		c.score()
	}
	if c.err == nil && g.aux != nil {
		g.aux.forward(c, x)
	}
	return c
}

// take returns memory for a batch.
func (g *expertChoice) take() *election {
	n := len(g.free)
	if n == 0 {
		c := &election{gate: g, d: &Decision{Losses: map[string]float64{}}}
		c.d.Saved = c
		return c
	}
	d := g.free[n-1]
	g.free = g.free[:n-1]
	return d.Saved.(*election)
}

// classify fills the tokens' classes.
func (c *election) classify(b Batch) error {
	c.class = mat.Reuse(c.class, c.tokens)
	clear(c.class)
	named := c.gate.names != nil
	if named && len(b.Modality) != c.tokens {
		return fmt.Errorf("router: %d modalities for %d tokens", len(b.Modality), c.tokens)
	}
	for t := range c.class {
		switch {
		case b.padded(t):
			c.class[t] = none
		case named && (b.Modality[t] < 0 || int(b.Modality[t]) >= c.gate.classes):
			return fmt.Errorf("router: token %d has modality %d of %d", t, b.Modality[t], c.gate.classes)
		case named:
			c.class[t] = b.Modality[t]
		}
	}
	return nil
}

// project fills the logits.
func (g *expertChoice) project(c *election, x blas32.General) {
	c.logits.reset(c.tokens, g.experts)
	if c.tokens == 0 {
		return
	}
	for i, cols := range g.columns {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, x, g.set.Matrix(g.set.Value, i), 0, cols.of(c.logits.matrix()))
	}
}

// score fills scores and keys. A sigmoid's keys are those of its logits, which tell apart even
// scores that have been rounded alike.
func (c *election) score() {
	g := c.gate
	c.scores.reset(c.tokens, g.experts)
	c.keys = mat.Reuse(c.keys, c.tokens*g.experts)
	choice := &c.scores
	if g.sigmoid {
		f32.Sigmoid(c.scores.data, c.logits.data)
		choice = &c.logits
	}
	for begin := 0; begin < c.tokens; begin += keyBlock {
		end := min(begin+keyBlock, c.tokens)
		for t := begin; t < end && !g.sigmoid; t++ {
			softmax(c.scores.row(t), c.logits.row(t))
		}
		c.transpose(choice, begin, end)
	}
}

// keyBlock is the number of tokens whose keys are written together, so that each expert's are whole
// lines of the cache.
const keyBlock = 32

// transpose makes the keys of tokens [begin, end).
func (c *election) transpose(choice *grid, begin, end int) {
	for e := range choice.cols {
		keys := c.keys[e*c.tokens+begin : e*c.tokens+end]
		for i := range keys {
			keys[i] = keyOf(choice.data[(begin+i)*choice.cols+e])
		}
	}
}

// local decides without other ranks.
func (c *election) local() (*Decision, error) {
	if c.err != nil {
		return nil, c.fail()
	}
	c.taken = mat.Reuse(c.taken, c.tokens*c.gate.experts)
	clear(c.taken)
	if c.gate.aux != nil && !c.train {
		c.gate.aux.choose(c)
		return c.assign(), nil
	}
	begin := 0
	for _, end := range c.ends {
		if err := c.chooseGroup(begin, end); err != nil {
			c.err = err
			return nil, c.fail()
		}
		begin = end
	}
	return c.assign(), nil
}

// fail gives the memory back and returns the error.
func (c *election) fail() error {
	c.gate.free = append(c.gate.free, c.d)
	return c.err
}

// chooseGroup marks what the experts take of one token group.
func (c *election) chooseGroup(begin, end int) error {
	c.startSearch(begin, end, Share{Index: 0, Count: 1})
	if c.gate.capped != nil {
		c.gate.capped.choose(c, begin, end)
		return nil
	}
	s := &c.search
	counts, err := s.next(nil)
	for err == nil && len(counts) > 0 {
		counts, err = s.next(counts)
	}
	if err == nil {
		s.mark(c.taken)
	}
	return err
}

// assign writes the decision.
func (c *election) assign() *Decision {
	d, g := c.d, c.gate
	d.Tokens, d.Experts, d.Dropped = c.tokens, g.experts, 0
	d.Ends, d.Counts = mat.Reuse(d.Ends, g.experts), mat.Reuse(d.Counts, g.experts)
	d.Token, d.Weight = d.Token[:0], d.Weight[:0]
	for e := range g.experts {
		begin := len(d.Token)
		for t, taken := range c.taken[e*c.tokens : (e+1)*c.tokens] {
			if taken {
				d.Token, d.Weight = append(d.Token, int32(t)), append(d.Weight, c.scores.row(t)[e])
			}
		}
		d.Ends[e], d.Counts[e] = len(d.Token), len(d.Token)-begin
	}
	d.GroupLoss = mat.Reuse(d.GroupLoss, len(c.ends))
	clear(d.GroupLoss)
	clear(d.Losses)
	if g.aux != nil && c.train {
		g.aux.measure(c)
	}
	return d
}
