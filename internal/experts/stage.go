// Package experts is the stage of a layer that computes: the experts hosted by a rank, and the
// shared expert of which every rank has a copy.
//
// An exchange comes in chunks, and the experts compute one chunk while another travels. A chunk is
// the rows for a run of consecutive experts, or the rows that come from some of the ranks.
package experts

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Config describes the experts hosted by a rank.
type Config struct {
	// Expert is what they compute.
	Expert expert.Expert
	// Shape says which they are.
	Shape expert.Shape
	// Shared is what the shared expert computes; nil means that there is none. Its number is Total,
	// that of the routed experts of all ranks: first parameters are drawn by it.
	Shared expert.Expert
	Total  int
	// Chunks is the most chunks of an exchange that are cut by experts.
	Chunks int
	// ByRanks says that chunks are cut by the ranks that rows come from.
	ByRanks bool
	// Rows says that RowGradients will be called, for which not every kind of experts is made.
	Rows bool
}

// Stage is the experts hosted by a rank. If chunks are cut by experts it has several groups of
// them, each with parameters of its own, so that a chunk is whole groups. That changes no bit: the
// parameters and gradients of an expert depend on its number and its rows alone.
//
// Any number of passes may be in flight. Any goroutine may call Begin at any time; all else is
// called in turn.
type Stage struct {
	// Shared is this rank's copy of the shared expert, nil if there is none.
	Shared *Shared

	first, hosted int // experts hosted here
	groups        []group
	byRanks       bool
	splits        bool
	params        []*param.Set // of each group
	list          []piece      // scratch: of the chunk that is computed
	free          freelist.List[memory]

	kind  expert.Expert
	shape expert.Shape // of those hosted here
	slots freelist.List[group]
}

// group is a run of the experts hosted here.
type group struct {
	expert.Group
	split        expert.SplitBackward // the group, if it is one
	holder       expert.Holder        // likewise
	rows         expert.RowGradients  // likewise
	first, count int                  // among the experts hosted here
}

// New builds the experts, in groups as even as can be.
func New(cfg Config) (*Stage, error) {
	s := &Stage{
		first: cfg.Shape.First, hosted: cfg.Shape.Count, byRanks: cfg.ByRanks, kind: cfg.Expert, shape: cfg.Shape,
	}
	n, local := max(cfg.Chunks, 1), cfg.Shape.Count
	if cfg.ByRanks {
		n = 1
	}
	for i := range n {
		first, end := local*i/n, local*(i+1)/n
		if first == end && n > 1 {
			continue
		}
		if err := s.add(cfg, first, end-first); err != nil {
			return nil, err
		}
	}
	if len(s.groups) == 0 { // fewer experts than ranks
		if err := s.add(cfg, 0, 0); err != nil {
			return nil, err
		}
	}
	if cfg.Shared == nil {
		return s, nil
	}
	var err error
	s.Shared, err = newShared(cfg)
	return s, err
}

func (s *Stage) add(cfg Config, first, count int) error {
	shape := cfg.Shape
	shape.First, shape.Count = shape.First+first, count
	g, err := newGroup(cfg.Expert, shape)
	if err != nil {
		return err
	}
	g.first, g.count, s.splits = first, count, g.split != nil
	if cfg.Rows && g.rows == nil {
		return fmt.Errorf("switchyard: Config.Expert: %T takes no gradients of other rows (it is no expert.RowGradients), "+
			"as compression needs unless Config.Compression.ClusterGradients is set", cfg.Expert)
	}
	s.groups, s.params = append(s.groups, g), append(s.params, g.Params())
	return nil
}

// First is the number of the first expert hosted here.
func (s *Stage) First() int { return s.first }

// Splits reports whether the gradients of parameters are computed apart, by BackwardWeights.
func (s *Stage) Splits() bool { return s.splits }

// Params returns the parameters of each group, which have the same tensors but for the number of
// experts; or nils for experts that have none. The caller must not change the list.
func (s *Stage) Params() []*param.Set { return s.params }

// Chunks is how the rows of an exchange are cut into chunks.
type Chunks interface {
	// Plan says where rows come from and stand.
	Plan() *alltoall.Plan
	// Chunk says which experts and ranks the rows of a chunk are of.
	Chunk(chunk int) alltoall.Chunk
}

// Pass is one pass, from Begin to End.
type Pass struct {
	chunks    Chunks
	firstLeaf int // of those of the ranks of the exchange
	runs      []Run
	*memory
}

// memory is what passes use again. It has an element for each group, or for each rank's rows; and
// then for each run, or for each rank's rows of it.
type memory struct {
	saved []expert.Saved
	of    []*group     // whose each saved is
	drows []mat.Buffer // copies of the gradients of rows, of groups that cannot hold them
	slots []*group     // of runs
}

// Begin begins a pass over the rows of an exchange. Its ranks hold the leaves from firstLeaf on of
// the tree in which gradients are summed. The backward pass may be cut into other chunks.
func (s *Stage) Begin(chunks Chunks, firstLeaf int) Pass {
	n := len(s.groups)
	if s.byRanks {
		n = chunks.Plan().Ranks()
	}
	m := s.free.Take()
	if m == nil {
		m = new(memory)
	}
	m.saved, m.of = m.saved[:0], m.of[:0]
	m.grow(n)
	return Pass{chunks: chunks, firstLeaf: firstLeaf, memory: m}
}

// End ends a pass, whether it has gone back or not: what it has returned is not valid any more. It
// does nothing if the pass has ended, or not begun.
func (s *Stage) End(p *Pass) {
	m := p.memory
	if m == nil {
		return
	}
	for i, g := range m.of {
		if g != nil && g.holder != nil {
			g.holder.Release(m.saved[i])
		}
	}
	s.giveSlots(p)
	clear(m.saved)
	clear(m.of)
	s.free.Give(m)
	*p = Pass{}
}

// Forward returns the answers to the rows of a chunk, which end at ends for each expert and leaf,
// in one matrix or more. Those to the rows of runs are left to ForwardRuns.
func (s *Stage) Forward(p *Pass, chunk int, rows blas32.General, ends []int) (
	answers []blas32.General,
) {
	answers = make([]blas32.General, len(s.pieces(p, chunk)))
	s.forward(p, chunk, rows, ends, answers, false)
	return answers
}

// ForwardRuns puts the answers to the rows of runs, whose parameters are here, where Forward of the
// same arguments has left them out.
func (s *Stage) ForwardRuns(p *Pass, chunk int, rows blas32.General, ends []int, answers []blas32.General) {
	s.forward(p, chunk, rows, ends, answers, true)
}

// forward computes the answers to the rows of runs, or to all others.
func (s *Stage) forward(p *Pass, chunk int, rows blas32.General, ends []int, answers []blas32.General, runs bool) {
	first := 0
	for i, piece := range s.pieces(p, chunk) {
		last := first + piece.rows
		if (piece.run != nil) == runs {
			n := piece.group.count * piece.leaves
			piece.load()
			y, saved := piece.group.Forward(mat.Rows(rows, first, last), expert.Rows{
				Experts: piece.group.count, FirstLeaf: piece.firstLeaf, Leaves: piece.leaves,
				Ends: lowered(ends[piece.ends:piece.ends+n], first),
			})
			if p.saved[piece.saved], p.of[piece.saved] = saved, piece.group; piece.group.holder != nil {
				piece.group.holder.Hold(saved)
			}
			answers[i] = y
		}
		first = last
	}
}

// Backward takes the gradient of those answers, and returns that of their rows. If Splits it leaves
// the gradients of parameters to BackwardWeights.
func (s *Stage) Backward(p *Pass, chunk int, danswers blas32.General) (drows []blas32.General) {
	first := 0
	for _, piece := range s.pieces(p, chunk) {
		last := first + piece.rows
		piece.swapRun()
		d := piece.group.backward(p.saved[piece.saved], mat.Rows(danswers, first, last))
		piece.swapRun()
		if piece.group.holder == nil { // the group's next call takes d back
			kept := p.drows[piece.saved].Matrix(d.Rows, d.Cols)
			mat.Copy(kept, d)
			d = kept
		}
		drows = append(drows, d)
		first = last
	}
	return drows
}

// RowGradients puts gradients of rows in place of those of answers, before the Backward of a chunk,
// if Config.Rows. Each is taken at row of[i] of all that came to this rank; those of the chunk are
// sorted by piece and expert. of is written over.
func (s *Stage) RowGradients(p *Pass, chunk int, d blas32.General, of []int32) {
	first := 0
	for _, piece := range s.pieces(p, chunk) {
		last := first
		for ; last < len(of) && int(of[last]) < piece.first+piece.rows; last++ {
			of[last] -= int32(piece.first)
		}
		rows := mat.Rows(d, first, last)
		piece.group.rows.RowGradients(p.saved[piece.saved], of[first:last], rows, rows)
		first = last
	}
}

// backward is the half of the backward pass that returns the gradient of rows, if the group has
// halves.
func (g *group) backward(saved expert.Saved, dy blas32.General) (dx blas32.General) {
	if g.split != nil {
		return g.split.BackwardInput(saved, dy)
	}
	return g.Group.Backward(saved, dy)
}

// BackwardWeights computes the gradients of the parameters of a chunk after Backward, if Splits.
func (s *Stage) BackwardWeights(p *Pass, chunk int) {
	for _, piece := range s.pieces(p, chunk) {
		piece.swapRun()
		piece.group.split.BackwardWeights(p.saved[piece.saved])
		piece.swapRun()
	}
}

// lowered returns list less by to each.
func lowered(list []int, by int) []int {
	if by == 0 {
		return list
	}
	low := make([]int, len(list))
	for i, v := range list {
		low[i] = v - by
	}
	return low
}
