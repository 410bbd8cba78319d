package modelcheck

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/models"
	"github.com/switchyard-moe/switchyard/router"
)

// The largest error, relative to the largest value wanted, of what a block computes and of
// gradients.
const (
	valueTolerance    = 1e-5
	gradientTolerance = 1e-4
)

// Folder checks the blocks of the checkpoint in dir, on each of the numbers of ranks, against the
// vectors beside it. An error that wraps [models.ErrUnsupported] says what the library lacks;
// another one what differs and by how much, or that the folder cannot be read.
func Folder(ctx context.Context, dir string, ranks ...int) error {
	m, err := models.Open(dir)
	if err != nil {
		return err
	}
	g, err := openGolden(dir)
	if err != nil {
		return errors.Join(err, m.Close())
	}
	return errors.Join(check(ctx, m, g, ranks), m.Close(), g.file.Close())
}

func check(ctx context.Context, m *models.Model, g *golden, ranks []int) error {
	if len(m.Blocks) != len(g.Layers) {
		return fmt.Errorf("%d blocks with experts, want %d", len(m.Blocks), len(g.Layers))
	}
	var faults []error
	for i, of := range g.Layers {
		c := &blockCheck{model: m, number: i, golden: g, prefix: fmt.Sprintf("layers.%d.", of.Layer)}
		faults = append(faults, c.choices())
		for _, n := range ranks {
			faults = append(faults, c.layer(ctx, n))
		}
	}
	for _, kind := range []string{"", "_masked"} {
		faults = append(faults, loss(m, g, kind))
	}
	return errors.Join(faults...)
}

// blockCheck checks one block.
type blockCheck struct {
	model  *models.Model
	number int // of the block
	golden *golden
	prefix string // of the names of its vectors
}

// choices checks which experts each token chooses, and their weights.
func (c *blockCheck) choices() error {
	cfg := c.model.Config(c.number)
	x, err := c.golden.matrix(c.prefix + "input")
	if err != nil {
		return err
	}
	index, err := c.golden.ints(c.prefix + "topk_index")
	if err != nil {
		return err
	}
	weight, err := c.golden.floats(c.prefix + "topk_weight")
	if err != nil {
		return err
	}
	if len(weight) != len(index) || len(index)%max(x.Rows, 1) != 0 {
		return fmt.Errorf("%stopk_index and topk_weight have %d and %d numbers for %d tokens", c.prefix, len(index), len(weight), x.Rows)
	}
	gate, err := cfg.Router.New(router.Shape{Dim: cfg.Dim, Experts: cfg.Experts})
	if err != nil {
		return err
	}
	d, err := gate.Route(x, router.Batch{Ends: []int{x.Rows}})
	if err != nil {
		return err
	}
	return c.compareChoices(d, index, weight)
}

// compareChoices holds a decision against the choices wanted, in any order.
func (c *blockCheck) compareChoices(d *router.Decision, index []int, weight []float32) error {
	want := make([]float32, d.Tokens*d.Experts)
	got := make([]float32, d.Tokens*d.Experts)
	chosen := map[int]bool{}
	k := len(index) / max(d.Tokens, 1)
	for i, e := range index {
		if e < 0 || e >= d.Experts {
			return fmt.Errorf("%stopk_index has expert %d of %d", c.prefix, e, d.Experts)
		}
		want[i/k*d.Experts+e] += weight[i]
		chosen[i/k*d.Experts+e] = true
	}
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for i := begin; i < end; i++ {
			at := int(d.Token[i])*d.Experts + e
			if got[at] = d.Weight[i]; !chosen[at] {
				return fmt.Errorf("%schoices: token %d chose expert %d with weight %v, which was not wanted", c.prefix, d.Token[i], e, d.Weight[i])
			}
		}
	}
	if len(d.Token) != len(chosen) {
		return fmt.Errorf("%schoices: %d experts were chosen, want %d", c.prefix, len(d.Token), len(chosen))
	}
	return near(c.prefix+"topk_weight", got, want, valueTolerance)
}

// layer checks a layer on n ranks: its outputs, and the gradients of inputs and parameters.
func (c *blockCheck) layer(ctx context.Context, n int) error {
	var in [3]blas32.General
	for i, name := range []string{"input", "output", "d_output"} {
		var err error
		if in[i], err = c.golden.matrix(c.prefix + name); err != nil {
			return err
		}
	}
	cfg := c.model.Config(c.number)
	cfg.Group = switchyard.PerRank
	if c.apart() {
		cfg.Shared = nil
	}
	x, y, dy := in[0], in[1], in[2]
	if x.Cols != cfg.Dim || y.Rows != x.Rows || dy.Rows != x.Rows || y.Cols != x.Cols || dy.Cols != x.Cols {
		return fmt.Errorf("%sinput, output and d_output do not fit each other and %d columns", c.prefix, cfg.Dim)
	}
	got, err := run(ctx, n, cfg, x, dy)
	if err != nil {
		return fmt.Errorf("%slayer on %d ranks: %w", c.prefix, n, err)
	}
	where := fmt.Sprintf("on %d ranks: %s", n, c.prefix)
	faults := []error{near(where+"output", got.y, y.Data, valueTolerance)}
	dx, err := c.golden.floats(c.prefix + "d_input")
	faults = append(faults, err, near(where+"d_input", got.dx, dx, gradientTolerance))
	tensors, err := c.model.Tensors(c.number, got.gradients)
	return errors.Join(append(faults, err, c.gradients(where, tensors))...)
}

// apart tells whether the vectors are of a block without its shared expert, which the model adds
// outside: they then have no gradient of it.
func (c *blockCheck) apart() bool {
	b := &c.model.Blocks[c.number]
	if b.Shared == nil {
		return false
	}
	_, ok := c.golden.file.Lookup(c.prefix + "grad." + b.Prefix + b.Shared.Gate.Name)
	return !ok
}

// gradients checks the gradients of all tensors.
func (c *blockCheck) gradients(where string, tensors []switchyard.Tensor) error {
	got, faults := map[string][]float32{}, []error{}
	for _, t := range tensors {
		got[t.Name] = t.Data
	}
	for _, t := range c.golden.file.Tensors() {
		name, ok := strings.CutPrefix(t.Name, c.prefix+"grad.")
		if !ok {
			continue
		}
		want, err := c.golden.floats(t.Name)
		faults = append(faults, err)
		if _, ok := got[name]; !ok {
			faults = append(faults, fmt.Errorf("%sno gradient of %s", where, name))
			continue
		}
		faults = append(faults, near(where+"grad."+name, got[name], want, gradientTolerance))
	}
	return errors.Join(faults...)
}

// loss checks the auxiliary loss of the whole model, for the logits that the vectors have.
func loss(m *models.Model, g *golden, kind string) error {
	if _, ok := g.file.Lookup("model.aux_loss" + kind); !ok || m.Loss == 0 {
		return nil
	}
	want, err := g.floats("model.aux_loss" + kind)
	if err != nil {
		return err
	}
	logits, err := g.logits(kind)
	if err != nil {
		return err
	}
	var mask []bool
	if kind != "" {
		on, err := g.ints("model.attention_mask")
		if err != nil {
			return err
		}
		for _, v := range on {
			mask = append(mask, v != 0)
		}
	}
	got, err := m.BalanceLoss(logits, mask)
	return errors.Join(err, near("model.aux_loss"+kind, []float32{float32(got)}, want, valueTolerance))
}

// near returns an error if a number differs from that wanted by more than the tolerance, relative
// to the largest one wanted.
func near(name string, got, want []float32, tolerance float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%s has %d numbers, want %d", name, len(got), len(want))
	}
	most, worst, at := 0.0, 0.0, 0
	for i, w := range want {
		most = max(most, math.Abs(float64(w)))
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tolerance*most) {
		return fmt.Errorf("%s: number %d is %v, want %v: differs by %.1e of the largest", name, at, got[at], want[at], worst/most)
	}
	return nil
}
