// Package experts is the stage of a layer that computes: the experts hosted by a rank, and the
// shared expert of which every rank has a copy.
//
// An exchange comes in chunks, and the experts compute one chunk while another travels. A chunk is
// the rows for a run of consecutive experts, or the rows that come from some of the ranks.
package experts

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
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
}

// Stage is the experts hosted by a rank. If chunks are cut by experts it has several groups of
// them, each with parameters of its own, so that a chunk is whole groups. That changes no bit: the
// parameters and gradients of an expert depend on its number and its rows alone.
type Stage struct {
	// Shared is this rank's copy of the shared expert, nil if there is none.
	Shared *Shared

	groups  []group
	byRanks bool
	splits  bool
	params  []*param.Set   // of each group
	drows   blas32.General // scratch: gradients of all rows, if chunks are cut by ranks
}

// group is a run of the experts hosted here.
type group struct {
	expert.Group
	split        expert.SplitBackward // the group, if it is one
	first, count int                  // among the experts hosted here
}

// New builds the experts, in groups as even as can be.
func New(cfg Config) (*Stage, error) {
	s := &Stage{byRanks: cfg.ByRanks}
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
	built, err := cfg.Expert.New(shape)
	if err != nil {
		return err
	}
	g := group{Group: built, first: first, count: count}
	g.split, s.splits = built.(expert.SplitBackward)
	s.groups, s.params = append(s.groups, g), append(s.params, g.Params())
	return nil
}

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

// Pass is what a forward pass keeps for its backward pass.
type Pass struct {
	chunks    Chunks
	firstLeaf int            // of those of the ranks of the exchange
	saved     []expert.Saved // of each group, or of each rank's rows
}

// Begin begins a pass over the rows of an exchange. Its ranks hold the leaves from firstLeaf on of
// the tree in which gradients are summed. The backward pass may be cut into other chunks.
func (s *Stage) Begin(chunks Chunks, firstLeaf int) Pass {
	n := len(s.groups)
	if s.byRanks {
		n = chunks.Plan().Ranks()
	}
	return Pass{chunks: chunks, firstLeaf: firstLeaf, saved: make([]expert.Saved, n)}
}

// in lists the groups of a chunk. One without experts is in the first chunk.
func (s *Stage) in(p *Pass, chunk int) (list []int) {
	c := p.chunks.Chunk(chunk)
	for i := range s.groups {
		g := &s.groups[i]
		if g.first >= c.FirstExpert && g.first+g.count <= c.EndExpert && (g.count > 0 || chunk == 0) {
			list = append(list, i)
		}
	}
	return list
}

// Forward returns the answers to the rows of a chunk, which end at ends for each expert and leaf,
// in one matrix or more.
func (s *Stage) Forward(p *Pass, chunk int, rows blas32.General, ends []int) (
	answers []blas32.General,
) {
	if s.byRanks {
		return s.forwardByRanks(p, chunk, rows, ends)
	}
	begin := p.chunks.Chunk(chunk).FirstExpert
	leaves := p.chunks.Plan().TotalLeaves()
	for _, i := range s.in(p, chunk) {
		g := &s.groups[i]
		own, first := ends[(g.first-begin)*leaves:(g.first-begin+g.count)*leaves], 0
		if g.first > begin && leaves > 0 {
			first = ends[(g.first-begin)*leaves-1]
		}
		last := lastOf(own, first)
		if first > 0 {
			own = lowered(own, first)
		}
		y, saved := g.Group.Forward(mat.Rows(rows, first, last), expert.Rows{
			Experts: g.count, FirstLeaf: p.firstLeaf, Leaves: leaves, Ends: own,
		})
		p.saved[i] = saved
		answers = append(answers, y)
	}
	return answers
}

// forwardByRanks is Forward of the rows of some ranks: one matrix of answers for each that has any
// tokens.
func (s *Stage) forwardByRanks(p *Pass, chunk int, rows blas32.General, ends []int) (
	answers []blas32.General,
) {
	plan, g, first := p.chunks.Plan(), &s.groups[0], 0
	for _, peer := range p.chunks.Chunk(chunk).Ranks {
		leaves := plan.Leaves[peer]
		if leaves == 0 {
			continue
		}
		own := ends[:g.count*leaves]
		ends = ends[len(own):]
		last := lastOf(own, first)
		y, saved := g.Group.Forward(mat.Rows(rows, first, last), expert.Rows{
			Experts: g.count, FirstLeaf: p.firstLeaf + mat.Sum(plan.Leaves[:peer]),
			Leaves: leaves, Ends: lowered(own, first),
		})
		p.saved[peer] = saved
		answers = append(answers, y)
		first = last
	}
	return answers
}

// Backward takes the gradient of those answers, and returns that of their rows. If Splits it leaves
// the gradients of parameters to BackwardWeights.
func (s *Stage) Backward(p *Pass, chunk int, danswers blas32.General) (drows []blas32.General) {
	if s.byRanks {
		return s.backwardByRanks(p, chunk, danswers)
	}
	at, plan := 0, p.chunks.Plan()
	for _, i := range s.in(p, chunk) {
		g, n := &s.groups[i], 0
		for e := g.first; e < g.first+g.count; e++ {
			for r := range plan.Ranks() {
				n += plan.Segment(e, r).Rows
			}
		}
		drows = append(drows, g.backward(p.saved[i], mat.Rows(danswers, at, at+n)))
		at += n
	}
	return drows
}

// backwardByRanks is Backward of the rows of some ranks. What a group returns is copied, since its
// next call takes it back.
func (s *Stage) backwardByRanks(p *Pass, chunk int, danswers blas32.General) (
	drows []blas32.General,
) {
	plan, g, first := p.chunks.Plan(), &s.groups[0], 0
	s.drows = mat.Resize(s.drows, plan.Received(), danswers.Cols) // the same for all chunks
	for _, peer := range p.chunks.Chunk(chunk).Ranks {
		if plan.Leaves[peer] == 0 {
			continue
		}
		last := first
		for e := range g.count {
			last += plan.Segment(e, peer).Rows
		}
		at := 0
		if g.count > 0 {
			at = plan.Segment(0, peer).First
		}
		own := mat.Rows(s.drows, at, at+last-first)
		copy(own.Data, g.backward(p.saved[peer], mat.Rows(danswers, first, last)).Data)
		drows = append(drows, own)
		first = last
	}
	return drows
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
	if !s.byRanks {
		for _, i := range s.in(p, chunk) {
			s.groups[i].split.BackwardWeights(p.saved[i])
		}
		return
	}
	for _, peer := range p.chunks.Chunk(chunk).Ranks {
		if p.saved[peer] != nil {
			s.groups[0].split.BackwardWeights(p.saved[peer])
		}
	}
}

// lastOf returns the last of ends, or where the rows before them end.
func lastOf(ends []int, before int) int {
	if len(ends) == 0 {
		return before
	}
	return ends[len(ends)-1]
}

// lowered returns list less by to each.
func lowered(list []int, by int) []int {
	low := make([]int, len(list))
	for i, v := range list {
		low[i] = v - by
	}
	return low
}
