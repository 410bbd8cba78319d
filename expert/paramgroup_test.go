package expert_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

// elementRates looks the rates of one element up anew: the first group that has the tensor's kind
// and name counts.
func elementRates(groups []expert.ParamGroup, kind param.Kind, name string, lr, decay float32) (float32, float32) {
	for _, g := range groups {
		named := len(g.Names) == 0
		for _, pattern := range g.Names {
			ok, _ := path.Match(pattern, name)
			named = named || ok
		}
		if !named || len(g.Kinds) > 0 && !slices.Contains(g.Kinds, kind) {
			continue
		}
		if g.LRFactor != nil {
			lr *= *g.LRFactor
		}
		if g.WeightDecay != nil {
			decay = *g.WeightDecay
		}
		break
	}
	return lr, decay
}

// oneByOne updates each element with an optimizer of its own, which has the element's rates and no
// groups.
type oneByOne struct {
	of    func(lr, decay float32) expert.Optimizer
	cells []*param.Set
	each  []expert.Optimizer
}

func newOneByOne(p *param.Set, groups []expert.ParamGroup, lr, decay float32, of func(lr, decay float32) expert.Optimizer) *oneByOne {
	o := &oneByOne{of: of}
	for i, t := range p.Tensors() {
		for _, v := range p.Of(p.Value, i) {
			cell := vector(v)
			o.cells, o.each = append(o.cells, cell), append(o.each, of(elementRates(groups, p.Kind, t.Name, lr, decay)))
		}
	}
	return o
}

func (o *oneByOne) update(grad []float32) []float32 {
	var values []float32
	for i, cell := range o.cells {
		o.each[i].Update(cell, grad[i:i+1])
		values = append(values, cell.Value[0])
	}
	return values
}

// randomGroups draws settings, patterns and kinds, of which some match nothing.
func randomGroups(r *rand.Rand) []expert.ParamGroup {
	groups := make([]expert.ParamGroup, r.IntN(5))
	for i := range groups {
		g := &groups[i]
		for range r.IntN(3) {
			g.Kinds = append(g.Kinds, param.Kind(r.IntN(int(param.Gain)+1)))
		}
		for range r.IntN(3) {
			g.Names = append(g.Names, []string{"b_*", "w_up", "w_?own", "*", "[wb]_up", "none"}[r.IntN(6)])
		}
		if r.IntN(2) == 0 {
			g.LRFactor = new([]float32{0, 1, 0.3, 2.7}[r.IntN(4)])
		}
		if r.IntN(2) == 0 {
			g.WeightDecay = new([]float32{0, 0.4, 0.07}[r.IntN(3)])
		}
	}
	return groups
}

// TestGroupsAgainstElementsOneByOne, in bits, on sets of each kind in turn.
func TestGroupsAgainstElementsOneByOne(t *testing.T) {
	const lr, decay = 0.03, 0.07
	adam := func(lr, decay float32) *expert.Adam {
		a := expert.NewAdam(lr)
		a.WeightDecay = decay
		return a
	}
	sgd := func(lr, decay float32) *expert.SGD {
		s := expert.NewSGD(lr)
		s.Momentum, s.WeightDecay = 0.8, decay
		return s
	}
	r := seeded(t)
	for range 300 {
		groups := randomGroups(r)
		ofAdam, ofSGD := adam(lr, decay), sgd(lr, decay)
		ofAdam.Groups, ofSGD.Groups = groups, groups
		for name, c := range map[string]struct {
			o     expert.Validator
			plain func(lr, decay float32) expert.Optimizer
		}{
			"adam": {ofAdam, func(lr, decay float32) expert.Optimizer { return adam(lr, decay) }},
			"sgd":  {ofSGD, func(lr, decay float32) expert.Optimizer { return sgd(lr, decay) }},
		} {
			p := param.NewSet(
				param.Tensor{Name: "w_up", Shape: []int{2, 9}}, param.Tensor{Name: "b_up", Shape: []int{3}},
				param.Tensor{Name: "b_none", Shape: []int{0}}, param.Tensor{Name: "w_down", Shape: []int{11}},
				param.Tensor{Name: "b_down", Shape: []int{1}}, param.Tensor{Name: "w", Shape: []int{5}})
			p.Kind = param.Kind(r.IntN(int(param.Gain) + 1))
			fill(r, p.Value)
			slow := newOneByOne(p, groups, lr, decay, c.plain)
			require.NoError(t, c.o.Validate())
			for range 3 {
				grad := make([]float32, len(p.Value))
				fill(r, grad)
				c.o.Update(p, grad)
				require.Equal(t, slow.update(grad), p.Value, "%s, kind %v, %v", name, p.Kind, c.o)
			}
		}
	}
}

func fill(r *rand.Rand, v []float32) {
	for i := range v {
		v[i] = r.Float32()*2 - 1
	}
}

// TestGroupsShowInStrings, by which ranks find out that their settings differ.
func TestGroupsShowInStrings(t *testing.T) {
	groups := []expert.ParamGroup{
		{}, {Kinds: []param.Kind{param.Gate}}, {Kinds: []param.Kind{param.Gate, param.Shared}},
		{Names: []string{"b_*"}}, {Names: []string{"b_*", "w"}}, {Names: []string{"b_* w"}},
		{LRFactor: new(float32(0))}, {LRFactor: new(float32(0.5))},
		{WeightDecay: new(float32(0))}, {WeightDecay: new(float32(0.5))},
	}
	seen := map[string]bool{}
	for _, g := range groups {
		adam, sgd := expert.NewAdam(0.1), expert.NewSGD(0.1)
		adam.Groups, sgd.Groups = []expert.ParamGroup{g}, []expert.ParamGroup{g}
		for _, text := range []string{fmt.Sprint(adam), fmt.Sprint(sgd)} {
			require.False(t, seen[text], "twice: %s", text)
			seen[text] = true
		}
	}
	adam := expert.NewAdam(0.1)
	adam.Groups = []expert.ParamGroup{
		{Kinds: []param.Kind{param.Gate}, Names: []string{"w"}, LRFactor: new(float32(2)), WeightDecay: new(float32(0))}, {}}
	require.Equal(t, `Adam{LR:0.1 Beta1:0.9 Beta2:0.999 Eps:1e-08 WeightDecay:0`+
		` Groups:[{Kinds:[gate] Names:["w"] LRFactor:2 WeightDecay:0} {}]}`, fmt.Sprint(adam))
}

// TestWrongGroupsAreNamed, all of them at once.
func TestWrongGroupsAreNamed(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	groups := []expert.ParamGroup{
		{},
		{Kinds: []param.Kind{param.Gate, param.Bias, -1}},
		{Names: []string{"w", "b_["}},
		{LRFactor: &nan, WeightDecay: &inf},
		{LRFactor: new(float32(-2)), WeightDecay: new(float32(-3))},
		{LRFactor: new(float32(math.MaxFloat32))},
	}
	texts := []string{
		"Groups[1].Kinds has bias, of which", "Groups[1].Kinds has kind -1, of which",
		`Groups[2].Names has "b_[": syntax error in pattern`,
		"Groups[3].LRFactor is NaN", "Groups[3].WeightDecay is +Inf",
		"Groups[4].LRFactor is -2, must be a finite number of at least 0", "Groups[4].WeightDecay is -3",
		"Groups[5].LRFactor of 3.4028235e+38 makes a learning rate of +Inf",
	}
	adam, sgd := expert.NewAdam(2), expert.NewSGD(2)
	adam.Groups, sgd.Groups = groups, groups
	for name, o := range map[string]expert.Validator{"Adam": adam, "SGD": sgd} {
		err := o.Validate()
		for _, text := range texts {
			require.ErrorContains(t, err, "expert: "+name+"."+text)
		}
		require.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), len(texts))
		p := vector(1)
		require.PanicsWithValue(t, err.Error(), func() { o.Update(p, []float32{1}) })
		require.Equal(t, []float32{1}, p.Value)
	}
	adam.LR, adam.Groups = inf, groups[:1]
	adam.Groups[0].LRFactor = new(float32(1))
	require.Len(t, adam.Validate().(interface{ Unwrap() []error }).Unwrap(), 1, "an infinite LR is one fault")
}

// TestUpdatesTakeNoMemory after the first.
func TestUpdatesTakeNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory itself")
	}
	momentum := expert.NewSGD(0.1)
	momentum.Momentum = 0.5
	p := param.NewSet(param.Tensor{Name: "w", Shape: []int{40}}, param.Tensor{Name: "b_w", Shape: []int{9}})
	grad := make([]float32, 49)
	for _, o := range []expert.Optimizer{expert.NewAdam(0.1), expert.NewSGD(0.1), momentum} {
		require.Zero(t, testing.AllocsPerRun(10, func() { o.Update(p, grad) }), "%T", o)
	}
}
