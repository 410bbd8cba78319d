package goldens

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// Tolerances of router cases.
const (
	weightTolerance   = 1e-6
	lossTolerance     = 1e-6
	gradientTolerance = 1e-5
)

// routed is one run of a router on the case's logits.
type routed struct {
	*router.Decision
	upstream []float32 // of each weight
	dlogits  []float32
}

// run routes the case's logits and takes a gradient back: of Σ upstream·weight where weights is
// true, and of the losses where there are any. Tokens are the unit vectors and the gate's matrix
// holds the logits, so the matrix's gradient is theirs.
func (c *routerCase) run(weights bool, losses ...router.Loss) (routed, error) {
	config, err := c.router(losses...)
	if err != nil {
		return routed{}, err
	}
	n := max(c.Tokens, 1)
	gate, err := config.New(router.Shape{Dim: n, Experts: c.Experts})
	if err != nil {
		return routed{}, err
	}
	copy(gate.Params().Value, c.Logits)
	x := blas32.General{Rows: c.Tokens, Cols: n, Stride: n, Data: make([]float32, c.Tokens*n)}
	for t := range c.Tokens {
		x.Data[t*n+t] = 1
	}
	d, err := gate.Route(x, router.Batch{Ends: []int{c.Tokens}, Train: true})
	if err != nil {
		return routed{}, err
	}
	if err := d.Validate(); err != nil {
		return routed{}, err
	}
	g := router.Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: x}
	g.DX.Data = make([]float32, len(x.Data))
	if weights {
		c.fillUpstream(g.Weights, d)
	}
	// A decision must not be read after Backward.
	kept := &router.Decision{Assignment: d.Assignment.Clone(), GroupLoss: slices.Clone(d.GroupLoss), Counts: slices.Clone(d.Counts)}
	err = gate.Backward(d, x, g)
	return routed{kept, g.Weights, gate.Params().Grad.Total()[:c.Tokens*c.Experts]}, err
}

// entries returns the assignment as the file has it: sorted by token and then by expert.
func entries(a *router.Assignment) [][]float64 {
	var list [][]float64
	for e := range a.Experts {
		begin, end := a.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			list = append(list, []float64{float64(a.Token[i]), float64(e), float64(a.Weight[i])})
		}
	}
	slices.SortStableFunc(list, func(a, b []float64) int { return cmp.Compare(a[0], b[0]) })
	return list
}

// fillUpstream puts the file's gradients of weights in the order of the entries. Those it lacks
// stay 0.
func (c *routerCase) fillUpstream(dst []float32, d *router.Decision) {
	value := map[route]float32{}
	for _, u := range c.Upstream {
		value[route{int(u[0]), int(u[1])}] = float32(u[2])
	}
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			dst[i] = value[route{int(d.Token[i]), e}]
		}
	}
}

// comparison collects the worst relative error of a case, and the first that is beyond its
// tolerance.
type comparison struct {
	worst float64
	err   error
}

// numbers compares got with want, relative to max(|want|, scale).
func (c *comparison) numbers(what string, got, want []float64, scale, tolerance float64) {
	for i, w := range want {
		diff := math.Abs(got[i] - w)
		if diff == 0 {
			continue
		}
		e := diff / max(math.Abs(w), scale)
		c.worst = max(c.worst, e)
		if !(e <= tolerance) && c.err == nil {
			c.err = fmt.Errorf("%s %d is %v, want %v: error %.1e, tolerance %.0e", what, i, got[i], w, e, tolerance)
		}
	}
}

// check computes the case and compares all that the file holds.
func (c *routerCase) check() (worst float64, err error) {
	if c.Name == sinkhornName {
		return c.checkSinkhorn()
	}
	r, err := c.run(true)
	if err != nil {
		return 0, err
	}
	var into comparison
	if err := c.checkRoutes(&into, r); err != nil {
		return into.worst, err
	}
	if c.GradWeights != nil {
		c.checkGradient(&into, "gradient from weights at logit", r.dlogits, c.GradWeights, r.largestTerm())
	}
	for _, l := range c.losses() {
		if err := c.checkLoss(&into, l); err != nil {
			return into.worst, err
		}
	}
	return into.worst, into.err
}

// checkRoutes compares who goes where, exactly, and the weights.
func (c *routerCase) checkRoutes(into *comparison, r routed) error {
	got := entries(&r.Assignment)
	if len(got) != len(c.Routed) {
		return fmt.Errorf("%d routes, want %d", len(got), len(c.Routed))
	}
	if c.Counts != nil && !slices.Equal(r.Counts, c.Counts) {
		return fmt.Errorf("counts before drops are %v, want %v", r.Counts, c.Counts)
	}
	if err := c.checkCapacity(r); err != nil {
		return err
	}
	slots := c.slots(&r.Assignment)
	wanted := slices.SortedFunc(slices.Values(c.Routed), func(a, b []float64) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	var have, want []float64
	for i, w := range wanted {
		g := got[i]
		if g[0] != w[0] || g[1] != w[1] {
			return fmt.Errorf("route %d is token %v to expert %v, want %v to %v", i, g[0], g[1], w[0], w[1])
		}
		if slot := slots[route{int(g[0]), int(g[1])}]; len(w) == 4 && slot != int(w[3]) {
			return fmt.Errorf("token %v has slot %v of expert %v, want %v", g[0], slot, g[1], w[3])
		}
		have, want = append(have, g[2]), append(want, w[2])
	}
	into.numbers("weight", have, want, largest(want), weightTolerance)
	return nil
}

// checkCapacity compares the capacity that the drops tell of: an expert that lost a token has just
// as many as it holds.
func (c *routerCase) checkCapacity(r routed) error {
	if c.Capacity == nil {
		return nil
	}
	for e, n := range r.Counts {
		begin, end := r.Of(router.ExpertID(e))
		if want := min(n, *c.Capacity); end-begin != want {
			return fmt.Errorf("expert %d keeps %d of %d tokens, want %d", e, end-begin, n, want)
		}
	}
	return nil
}

// loss is one loss of a case: its value and its gradient, where the file has them.
type loss struct {
	loss     router.Loss
	value    *float64
	gradient []float64
}

func (c *routerCase) losses() []loss {
	return []loss{
		{router.Balance(c.AuxCoeff), c.Aux, c.GradAux},
		{c.unscaledLoss(), c.AuxUnscaled, c.GradAuxUnscaled},
		{router.ZLoss(c.ZCoeff), c.Z, c.GradZ},
	}
}

// checkLoss computes the case with one loss alone.
func (c *routerCase) checkLoss(into *comparison, l loss) error {
	if l.value == nil && l.gradient == nil {
		return nil
	}
	r, err := c.run(false, l.loss)
	if err != nil {
		return err
	}
	name := l.loss.Name() + " loss"
	if l.value != nil {
		into.numbers(name, r.GroupLoss, []float64{*l.value}, 0, lossTolerance)
	}
	if l.gradient != nil {
		c.checkGradient(into, "gradient from "+name+" at logit", r.dlogits, l.gradient, r.GroupLoss[0]/float64(c.Tokens))
	}
	return nil
}

func (c *routerCase) checkGradient(into *comparison, what string, got []float32, want []float64, term float64) {
	have := make([]float64, len(got))
	for i, v := range got {
		have[i] = float64(v)
	}
	into.numbers(what, have, want, max(largest(want), term), gradientTolerance)
}

// largestTerm is the largest |upstream·weight|, of which the gradients are sums and differences.
func (r routed) largestTerm() float64 {
	m := 0.0
	for i, u := range r.upstream {
		m = max(m, math.Abs(float64(u)*float64(r.Weight[i])))
	}
	return m
}

func largest(x []float64) float64 {
	m := 0.0
	for _, v := range x {
		m = max(m, math.Abs(v))
	}
	return m
}
