package switchyard

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// shard is a run of the experts hosted here, with parameters of their own: the experts of one part of an exchange. Cutting them
// changes no bit, as an expert's parameters and gradients depend on its number and its rows alone.
type shard struct {
	first, count int // among the experts hosted here
	group        expert.Group
	halves       expert.Splitter // group, if it is one
	grads        total
}

// newShards builds the experts hosted here, cut into as many runs as there may be parts, as even as can be; in one where parts are cut by ranks.
func (l *Layer) newShards() error {
	n := l.mostParts()
	if l.byPeers {
		n = 1
	}
	first, end := l.layout.place.Of(l.layout.seat)
	local := end - first
	for i := range n {
		s := shard{first: local * i / n, count: local*(i+1)/n - local*i/n}
		if s.count == 0 && n > 1 {
			continue
		}
		var err error
		if s.group, err = l.cfg.Expert.New(expert.Shape{Dim: l.cfg.Dim, First: first + s.first, Count: s.count, Seed: l.cfg.Seed}); err != nil {
			return err
		}
		l.shards = append(l.shards, s)
	}
	if len(l.shards) == 0 { // fewer experts than ranks
		group, err := l.cfg.Expert.New(expert.Shape{Dim: l.cfg.Dim, First: first, Seed: l.cfg.Seed})
		if err != nil {
			return err
		}
		l.shards = []shard{{group: group}}
	}
	for i := range l.shards {
		l.shards[i].halves, l.halves = l.shards[i].group.(expert.Splitter)
	}
	return nil
}

// backwardOf has s's experts go back with saved: where the layer has them do so in halves, the first.
func (l *Layer) backwardOf(s *shard, saved expert.Saved, dy blas32.General) (dx blas32.General) {
	if l.halves {
		return s.halves.BackwardInput(saved, dy)
	}
	return s.group.Backward(saved, dy)
}

// expertParams returns the parameters of a shard of each kind that has any; they have the same tensors.
func (l *Layer) expertParams() *expert.Params { return l.shards[0].group.Params() }

// shardsIn returns the shards of a part, all of whose experts are in it. One without experts is in the first.
func (l *Layer) shardsIn(p *pass, part int) (list []int) {
	begin, end := p.handle.Experts(part)
	for i, s := range l.shards {
		if s.first >= begin && s.first+s.count <= end && (s.count > 0 || part == 0) {
			list = append(list, i)
		}
	}
	return list
}

// expertsForward computes the answers of a part's experts to their rows, which end at ends, a matrix a shard.
func (l *Layer) expertsForward(p *pass, part int, rows blas32.General, ends []int) (answers []blas32.General) {
	if l.byPeers {
		return l.forwardOfPeers(p, part, rows, ends)
	}
	begin, _ := p.handle.Experts(part)
	leaves := p.handle.Plan().TotalLeaves()
	for _, i := range l.shardsIn(p, part) {
		s := &l.shards[i]
		mine := ends[(s.first-begin)*leaves : (s.first-begin+s.count)*leaves]
		first := 0
		if s.first > begin && leaves > 0 {
			first = ends[(s.first-begin)*leaves-1]
		}
		last := first
		if len(mine) > 0 {
			last = mine[len(mine)-1]
		}
		if first > 0 {
			mine = lowered(mine, first)
		}
		y, saved := s.group.Forward(mat.Rows(rows, first, last), expert.Rows{
			Experts: s.count, FirstLeaf: mat.Sum(p.batch.leaves[:p.batch.first]), Leaves: leaves, Ends: mine,
		})
		p.saved[i] = saved
		answers = append(answers, y)
	}
	return answers
}

// expertsBackward takes the gradient of those answers, and returns that of their rows.
func (l *Layer) expertsBackward(p *pass, part int, danswers blas32.General) (drows []blas32.General) {
	if l.byPeers {
		return l.backwardOfPeers(p, part, danswers)
	}
	at := 0
	for _, i := range l.shardsIn(p, part) {
		s := &l.shards[i]
		n := 0
		for e := s.first; e < s.first+s.count; e++ {
			for r := range p.handle.Plan().Ranks() {
				n += p.handle.Plan().Segment(e, r).Rows
			}
		}
		drows = append(drows, l.backwardOf(s, p.saved[i], mat.Rows(danswers, at, at+n)))
		at += n
	}
	return drows
}

// expertsWeights computes the gradient of the parameters of a part's experts, where it is computed apart.
func (l *Layer) expertsWeights(p *pass, part int) {
	if l.byPeers {
		for _, peer := range p.handle.Peers(part) {
			if p.saved[peer] != nil {
				l.shards[0].halves.BackwardWeights(p.saved[peer])
			}
		}
		return
	}
	for _, i := range l.shardsIn(p, part) {
		l.shards[i].halves.BackwardWeights(p.saved[i])
	}
}

// forwardOfPeers is expertsForward where a part is the rows of some ranks: one matrix of answers for each.
func (l *Layer) forwardOfPeers(p *pass, part int, rows blas32.General, ends []int) (answers []blas32.General) {
	plan, s, first := p.handle.Plan(), &l.shards[0], 0
	for _, peer := range p.handle.Peers(part) {
		leaves := plan.Leaves[peer]
		if leaves == 0 {
			continue
		}
		mine := ends[:s.count*leaves]
		ends = ends[len(mine):]
		last := first
		if len(mine) > 0 {
			last = mine[len(mine)-1]
		}
		y, saved := s.group.Forward(mat.Rows(rows, first, last), expert.Rows{
			Experts: s.count, FirstLeaf: mat.Sum(p.batch.leaves[:p.batch.first+peer]), Leaves: leaves, Ends: lowered(mine, first),
		})
		p.saved[peer] = saved
		answers = append(answers, y)
		first = last
	}
	return answers
}

// backwardOfPeers is expertsBackward where a part is the rows of some ranks. What a group returns is copied, as its next call takes it back.
func (l *Layer) backwardOfPeers(p *pass, part int, danswers blas32.General) (drows []blas32.General) {
	plan, s, first := p.handle.Plan(), &l.shards[0], 0
	for _, peer := range p.handle.Peers(part) {
		if plan.Leaves[peer] == 0 {
			continue
		}
		last := first
		for e := range s.count {
			last += plan.Segment(e, peer).Rows
		}
		at := 0
		if s.count > 0 {
			at = plan.Segment(0, peer).First
		}
		own := mat.Rows(l.back, at, at+last-first)
		copy(own.Data, l.backwardOf(s, p.saved[peer], mat.Rows(danswers, first, last)).Data)
		drows = append(drows, own)
		first = last
	}
	return drows
}

// lowered returns list less by to each.
func lowered(list []int, by int) []int {
	low := make([]int, len(list))
	for i, v := range list {
		low[i] = v - by
	}
	return low
}
