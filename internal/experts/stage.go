// Package experts is the stage of a layer that computes: the experts hosted by a rank, and the
// shared expert of which every rank has a copy.
//
// An exchange comes in chunks, and the experts compute one chunk while another travels. A chunk is
// the rows for a run of consecutive experts, or the rows that come from some of the ranks.
package experts

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/layout"
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
	// Order says which expert stands at which position: Shape counts positions.
	Order layout.Order
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
	workers       int          // goroutines that compute runs at the same time, at most
	enough        int          // work of a chunk from which there are several
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
		enough: enough,
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
	if err := g.initialize(cfg, shape); err != nil {
		return err
	}
	g.first, g.count, s.splits, s.workers = first, count, g.split != nil, g.workers()
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
	list := s.pieces(p, chunk)
	answers = make([]blas32.General, len(list))
	for i := range list {
		if of := &list[i]; of.run == nil {
			p.forward(of, rows, ends, answers)
		}
	}
	return answers
}

// ForwardRuns puts the answers to the rows of runs, whose parameters are here, where Forward of the
// same arguments has left them out.
func (s *Stage) ForwardRuns(p *Pass, chunk int, rows blas32.General, ends []int, answers []blas32.General) {
	s.beside(s.runs(p, chunk), func(of *piece) {
		of.load()
		p.forward(of, rows, ends, answers)
	})
}

// runs lists the pieces of a chunk that are of runs.
func (s *Stage) runs(p *Pass, chunk int) []piece {
	return slices.DeleteFunc(s.pieces(p, chunk), func(of piece) bool { return of.run == nil })
}

// forward computes the answers to the rows of a piece.
func (p *Pass) forward(of *piece, rows blas32.General, ends []int, answers []blas32.General) {
	g := of.group
	n := g.count * of.leaves
	y, saved := g.Forward(mat.Rows(rows, of.at, of.at+of.rows), expert.Rows{
		Experts: g.count, FirstLeaf: of.firstLeaf, Leaves: of.leaves, Ends: lowered(ends[of.ends:of.ends+n], of.at),
	})
	if p.saved[of.saved], p.of[of.saved] = saved, g; g.holder != nil {
		g.holder.Hold(saved)
	}
	answers[of.number] = y
}

// Backward takes the gradient of those answers, and returns that of their rows. If Splits it leaves
// the gradients of parameters to BackwardWeights.
func (s *Stage) Backward(p *Pass, chunk int, danswers blas32.General) (drows []blas32.General) {
	list := s.pieces(p, chunk)
	drows = make([]blas32.General, len(list))
	if len(p.runs) == 0 {
		for i := range list {
			drows[i] = p.backward(&list[i], danswers)
		}
		return drows
	}
	s.backwardBeside(p, list, danswers, drows)
	return drows
}

// backwardBeside is Backward of a pass with runs.
func (s *Stage) backwardBeside(p *Pass, list []piece, danswers blas32.General, drows []blas32.General) {
	s.beside(list, func(of *piece) { drows[of.number] = p.backward(of, danswers) })
}

// backward computes the gradients of the rows of a piece.
func (p *Pass) backward(of *piece, danswers blas32.General) blas32.General {
	of.swapRun()
	d := of.group.backward(p.saved[of.saved], mat.Rows(danswers, of.at, of.at+of.rows))
	of.swapRun()
	if of.group.holder != nil {
		return d
	}
	kept := p.drows[of.saved].Matrix(d.Rows, d.Cols) // as the group's next call takes d back
	mat.Copy(kept, d)
	return kept
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
// Those of runs are left to BackwardWeightsOfRuns, before or after it.
func (s *Stage) BackwardWeights(p *Pass, chunk int) {
	for _, of := range s.pieces(p, chunk) {
		if of.run == nil {
			p.weights(&of)
		}
	}
}

// BackwardWeightsOfRuns computes the gradients of the parameters of a chunk's runs.
func (s *Stage) BackwardWeightsOfRuns(p *Pass, chunk int) { s.beside(s.runs(p, chunk), p.weights) }

// weights computes the gradients of the parameters for a piece.
func (p *Pass) weights(of *piece) {
	of.swapRun()
	of.group.split.BackwardWeights(p.saved[of.saved])
	of.swapRun()
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
