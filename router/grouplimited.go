package router

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// GroupScore says how good a group of experts is for a token.
type GroupScore int

const (
	// GroupTopShare is the sum of the expert group's best K/Keep scores, as many as a token gets
	// from each kept group. (DeepSeek-V3's report; Megatron.)
	GroupTopShare GroupScore = iota
	// GroupTopTwo is the sum of the expert group's two best scores, or of the only one.
	// (DeepSeek-V3's and Hugging Face's code.)
	GroupTopTwo
	// GroupMax is the expert group's best score. (DeepSeek-V2; DeepSpeed.)
	GroupMax

	groupScores int = iota
)

// String returns the name of the expert group score.
func (s GroupScore) String() string {
	names := [...]string{"top share", "top two", "max"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("GroupScore(%d)", int(s))
	}
	return names[s]
}

// GroupLimited is [TopK] among the experts of a few expert groups, the best ones for the token: if
// each group is on one node, a token is sent over the slow network to no more than Keep nodes.
// Groups are runs of equally many experts. They are scored, as experts are chosen, by scores with
// the bias added, or with [SoftmaxAfter] by logits; groups do not change weights. (DeepSeek-V2 and
// V3; Megatron, DeepSpeed.)
type GroupLimited struct {
	TopK
	// Groups is the number of expert groups; it divides the number of experts.
	Groups int
	// Keep is the number of expert groups that a token may choose from, from 1 to Groups; they hold at
	// least K experts.
	Keep int
	// GroupScore says how an expert group is scored.
	GroupScore GroupScore
	// FillZero gives experts outside the kept expert groups the score 0 in place of −∞, so that
	// they are chosen before experts inside whose biased score is negative. (Hugging Face's
	// DeepSeek-V3.)
	FillZero bool
}

var _ Router = GroupLimited{}

// New is described at [Router].
func (r GroupLimited) New(s Shape) (Gate, error) {
	p := overrides{name: "GroupLimited", faults: r.groupFaults(s)}
	if len(p.faults)+len(checkShape(s)) == 0 {
		p.bias = r.newBias(s)
		p.chooser = &inGroups{
			bias: p.bias, byLogit: r.Score == SoftmaxAfter, fillZero: r.FillZero,
			best: r.scored(s.Experts / r.Groups), groups: make([]float32, r.Groups), kept: make([]int32, r.Keep),
		}
	}
	return r.TopK.build(s, p)
}

// scored returns how many of an expert group's best scores make up the group's.
func (r GroupLimited) scored(size int) int {
	switch r.GroupScore {
	case GroupTopTwo:
		return min(2, size)
	case GroupTopShare:
		return max(1, min(r.K/r.Keep, size))
	}
	return 1
}

func (r GroupLimited) groupFaults(s Shape) (faults []error) {
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("router: GroupLimited: "+format, args...))
		}
	}
	if r.Groups < 1 || s.Experts%r.Groups != 0 {
		fault(true, "%d groups for %d experts", r.Groups, s.Experts)
		return faults
	}
	fault(r.Keep < 1 || r.Keep > r.Groups, "keeps %d groups of %d", r.Keep, r.Groups)
	fault(r.Keep*s.Experts/r.Groups < r.K, "%d groups of %d experts hold less than K = %d", r.Keep, s.Experts/r.Groups, r.K)
	fault(r.GroupScore < 0 || int(r.GroupScore) >= groupScores, "unknown group score %d", int(r.GroupScore))
	return faults
}

// inGroups is GroupLimited's choice.
type inGroups struct {
	bias     *bias
	byLogit  bool
	fillZero bool
	best     int       // scores that an expert group's is the sum of
	groups   []float32 // the expert groups' scores
	kept     []int32   // the expert groups kept
	top      []int32   // the best of one expert group
}

func (c *inGroups) forAll() bool { return !c.byLogit || c.bias != nil }

func (c *inGroups) choose(g *choosing) {
	size := g.experts / len(c.groups)
	for i := range g.tokens {
		c.keep(c.goBy(g, i), size)
		score := g.scratch()
		if c.bias == nil && !c.fillZero {
			// Logits tell apart even scores that have been rounded alike.
			copy(score, g.logits(i))
		} else {
			copy(score, c.goBy(g, i))
		}
		c.mask(score, size)
		topK(g.choices(i), score)
	}
}

// goBy returns what expert groups are scored by. It may be in the scratch memory.
func (c *inGroups) goBy(g *choosing, i int) []float32 {
	switch {
	case c.bias != nil:
		return c.bias.add(g.scratch(), g.scores(i))
	case c.byLogit:
		return g.logits(i)
	}
	return g.scores(i)
}

// keep fills kept with the best expert groups.
func (c *inGroups) keep(score []float32, size int) {
	c.top = mat.Reuse(c.top, c.best)
	for n := range c.groups {
		group := score[n*size : (n+1)*size]
		topK(c.top, group)
		sum := float32(0)
		for _, e := range c.top {
			sum += group[e]
		}
		c.groups[n] = sum
	}
	topK(c.kept, c.groups)
}

// mask overwrites the scores of experts outside the kept expert groups.
func (c *inGroups) mask(score []float32, size int) {
	fill := float32(math.Inf(-1))
	if c.fillZero {
		fill = 0
	}
	for n := range c.groups {
		c.groups[n] = fill
	}
	for _, n := range c.kept {
		c.groups[n] = 1
	}
	for n, v := range c.groups {
		if v == 1 {
			continue
		}
		for e := n * size; e < (n+1)*size; e++ {
			score[e] = fill
		}
	}
}
