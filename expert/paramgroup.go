package expert

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/param"
)

// ParamGroup gives some tensors other settings than the rest, as the parameter groups of PyTorch
// do: no weight decay for the gate, for example, or a lower learning rate for the experts. [Adam]
// and [SGD] take a list of groups, in which a tensor has the settings of the first group that it is
// in, or those of the optimizer if it is in none. What a group leaves nil is as the optimizer has
// it. Settings may be changed between updates.
type ParamGroup struct {
	// Kinds are the kinds of the sets whose tensors are in the group; none means every kind.
	Kinds []param.Kind
	// Names are patterns for the names of tensors in their set, in the syntax of [path.Match]: "b?"
	// for the biases b1 and b2 of [FFN]. A tensor is in the group if one of them matches; none
	// means every tensor.
	Names []string
	// LRFactor is the factor, at least 0, of the optimizer's LR; nil means 1. At 0 moments move and
	// the values do not.
	LRFactor *float32
	// WeightDecay stands in place of the optimizer's, and is at least 0; 0 means none, nil means the
	// optimizer's.
	WeightDecay *float32
}

// String lists what the group sets.
func (g ParamGroup) String() string {
	var parts []string
	if len(g.Kinds) > 0 {
		parts = append(parts, fmt.Sprintf("Kinds:%v", g.Kinds))
	}
	if len(g.Names) > 0 {
		parts = append(parts, fmt.Sprintf("Names:%q", g.Names))
	}
	if g.LRFactor != nil {
		parts = append(parts, fmt.Sprintf("LRFactor:%v", *g.LRFactor))
	}
	if g.WeightDecay != nil {
		parts = append(parts, fmt.Sprintf("WeightDecay:%v", *g.WeightDecay))
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// groupsText is the part of an optimizer's String about groups; nothing if there are none.
func groupsText(groups []ParamGroup) string {
	if len(groups) == 0 {
		return ""
	}
	return fmt.Sprintf(" Groups:%v", groups)
}

// has tells whether a tensor is in the group. A pattern that is none matches nothing.
func (g *ParamGroup) has(kind param.Kind, name string) bool {
	if len(g.Kinds) > 0 && !slices.Contains(g.Kinds, kind) {
		return false
	}
	matches := func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	return len(g.Names) == 0 || slices.ContainsFunc(g.Names, matches)
}

// rates are the settings that differ between groups.
type rates struct{ lr, weightDecay float32 }

// keep is the share of a parameter that weight decay leaves.
func (r rates) keep() float32 { return 1 - float32(r.lr*r.weightDecay) }

// of returns the rates of a tensor, if r are those of the optimizer.
func (r rates) of(groups []ParamGroup, kind param.Kind, name string) rates {
	for i := range groups {
		if groups[i].has(kind, name) {
			return r.in(&groups[i])
		}
	}
	return r
}

// in returns the rates of a group, if r are those of the optimizer.
func (r rates) in(g *ParamGroup) rates {
	if g.LRFactor != nil {
		r.lr = float32(r.lr * *g.LRFactor)
	}
	if g.WeightDecay != nil {
		r.weightDecay = *g.WeightDecay
	}
	return r
}

// runs calls update for each longest run of elements of p, from one index to before another, whose
// tensors have the same rates, if r are those of the optimizer.
func (r rates) runs(p *param.Set, groups []ParamGroup, update func(from, to int, of rates)) {
	from, to, last := 0, 0, r
	for _, t := range p.Tensors() {
		now := r.of(groups, p.Kind, t.Name)
		if now != last && from < to {
			update(from, to, last)
			from = to
		}
		last = now
		to += t.Len()
	}
	update(from, to, last)
}

// groups notes what is wrong with groups of an optimizer of learning rate lr.
func (s *settings) groups(groups []ParamGroup, lr float32) {
	for i, g := range groups {
		field := fmt.Sprintf("Groups[%d]", i)
		for _, k := range g.Kinds {
			if k < param.Dense || k > param.Gain {
				s.faults = append(s.faults, fmt.Errorf(
					"expert: %s.%s.Kinds has %v, of which no optimizer is given parameters", s.name, field, k))
			}
		}
		for _, pattern := range g.Names {
			if _, err := path.Match(pattern, ""); err != nil {
				s.faults = append(s.faults, fmt.Errorf(
					"expert: %s.%s.Names has %q: %w", s.name, field, pattern, err))
			}
		}
		if g.LRFactor != nil {
			s.factor(field+".LRFactor", *g.LRFactor, lr)
		}
		if g.WeightDecay != nil {
			s.from0(field+".WeightDecay", *g.WeightDecay)
		}
	}
}

// factor notes a factor of the learning rate that is not a finite number from 0 on, or that makes
// an infinite rate.
func (s *settings) factor(field string, factor, lr float32) {
	before := len(s.faults)
	s.from0(field, factor)
	if product := float32(lr * factor); len(s.faults) == before && product-product != 0 && lr-lr == 0 {
		s.faults = append(s.faults, fmt.Errorf(
			"expert: %s.%s of %v makes a learning rate of %v", s.name, field, factor, product))
	}
}
