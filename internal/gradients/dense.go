package gradients

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// DenseConfig describes parameters that every rank holds.
type DenseConfig struct {
	// Names and Sets are the parameters.
	Names []string
	Sets  []*param.Set
	// World connects all ranks.
	World *collective.Comm
	// Joined is the number by which errors name a rank of World.
	Joined func(transport.Rank) transport.Rank
}

// Check returns every fault of the names and the sets.
func (c *DenseConfig) Check() error {
	var faults []error
	seen := map[*param.Set]string{}
	for i, set := range c.Sets {
		switch other, twice := seen[set]; {
		case set == nil:
			faults = append(faults, fmt.Errorf("set %d, %q, is nil", i, c.Names[i]))
		case c.Names[i] == "":
			faults = append(faults, fmt.Errorf("set %d has no name", i))
		case twice:
			faults = append(faults, fmt.Errorf("set %d, %q, is that of %q too", i, c.Names[i], other))
		}
		seen[set] = c.Names[i]
	}
	return errors.Join(faults...)
}

// Dense sums the gradients of parameters that every rank holds, for the program that computes them.
// Every rank calls its methods in the same order. It is an [Owner].
type Dense struct {
	cfg    DenseConfig
	codec  collective.Codec // of sums, nil for exact ones
	sums   []denseSum
	summed uint64 // of which sets have been summed since the last step, and in which order
}

// denseSum is the sum of the gradients of one set over the passes since the last step.
type denseSum struct {
	sum
	next []float32 // of the pass that is being summed
	lost []float32 // by rounding, for the next sum
}

// NewDense returns a Dense without gradients.
func NewDense(cfg DenseConfig) *Dense {
	return &Dense{cfg: cfg, sums: make([]denseSum, len(cfg.Sets))}
}

// SetSums has gradients summed in a codec from now on, nil for exact sums. What the codec before
// has lost is forgotten.
func (d *Dense) SetSums(codec alltoall.Codec) error {
	if err := CheckSums(codec); err != nil {
		return err
	}
	d.codec = quantizer(codec)
	for i := range d.sums {
		d.sums[i].lost = nil
	}
	return nil
}

// List lists the sets and, if the list is one to go on training with, what rounding has lost on
// this rank.
func (d *Dense) List(l *parameters.Lister) {
	for i, set := range d.cfg.Sets {
		l.AddSet(d.cfg.Names[i]+".", set)
	}
	if d.codec == nil || d.cfg.World.Size() == 1 || !l.Trains() {
		return
	}
	for i, set := range d.cfg.Sets {
		listLost(l, lostPrefix+d.cfg.Names[i], set, &d.sums[i].lost)
	}
}

// Comm connects all ranks.
func (d *Dense) Comm() *collective.Comm { return d.cfg.World }

// Select returns the numbers of the sets of the given names, of all if there are none.
func (d *Dense) Select(names []string) (sets []int, err error) {
	for i, name := range d.cfg.Names {
		if len(names) == 0 || slices.Contains(names, name) {
			sets = append(sets, i)
		}
	}
	for _, name := range names {
		if !slices.Contains(d.cfg.Names, name) {
			return nil, fmt.Errorf("no set is called %q, the names are %q", name, d.cfg.Names)
		}
	}
	return sets, nil
}

// CheckLeaves returns an error unless each of some sets holds the leaves of this rank, where rank r
// has leaves[r] of them.
func (d *Dense) CheckLeaves(leaves, sets []int) error {
	if len(leaves) != d.cfg.World.Size() || slices.ContainsFunc(leaves, func(n int) bool { return n < 0 }) {
		return fmt.Errorf("leaves are %v, want a number of at least 0 for each of the %d ranks",
			leaves, d.cfg.World.Size())
	}
	me := d.cfg.World.Rank()
	first := mat.Sum(leaves[:me])
	for _, i := range sets {
		set := d.cfg.Sets[i]
		if !set.Frozen && !set.Grad.Holds(first, first+leaves[me]) {
			return fmt.Errorf("the gradient of set %q has not exactly the leaves from %d to before %d",
				d.cfg.Names[i], first, first+leaves[me])
		}
	}
	return nil
}

// Sum sums the gradients of some sets over the ranks and adds them to those of the passes before.
func (d *Dense) Sum(ctx context.Context, leaves, which []int) error {
	var parts []part
	var trained []int
	for _, i := range which {
		if set := d.cfg.Sets[i]; set.Frozen {
			set.Grad.Free()
			d.sums[i] = denseSum{}
		} else {
			parts = append(parts, part{set.Grad, &d.sums[i].next})
			trained = append(trained, i)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	d.note(leaves, which)
	if err := d.reduce(ctx, leaves, trained, parts); err != nil {
		return errtext.Errorf("switchyard: gradients of dense parameters: %w", err)
	}
	for _, i := range trained {
		s := &d.sums[i]
		s.add(&s.next, 1)
	}
	return nil
}

// reduce sums the gradients of some sets over the ranks: parts, which are those of the sets.
func (d *Dense) reduce(ctx context.Context, leaves, sets []int, parts []part) error {
	if d.codec == nil {
		return reduce(ctx, d.cfg.World, leaves, parts...)
	}
	if err := takeOwn(d.cfg.World, leaves, parts...); err != nil {
		return err
	}
	var vectors []rounded
	for _, i := range sets {
		vectors = append(vectors, rounded{d.sums[i].next, &d.sums[i].lost})
	}
	return quantize(ctx, d.cfg.World, d.codec, vectors)
}

// note takes what is summed into the digest by which ranks tell whether they have summed the same.
func (d *Dense) note(leaves, which []int) {
	h := fnv.New64a()
	fmt.Fprint(h, d.summed, leaves)
	for _, i := range which {
		if !d.cfg.Sets[i].Frozen {
			fmt.Fprintf(h, "%q", d.cfg.Names[i])
		}
	}
	d.summed = h.Sum64()
}

// stepped is the digest of what has been summed, and of the sets that a step changes.
func (d *Dense) stepped() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, d.summed)
	for _, set := range d.cfg.Sets {
		fmt.Fprint(h, set.Frozen)
	}
	return h.Sum64()
}

// Waiting is the name of a set with gradients that are not summed, "" if there is none.
func (d *Dense) Waiting() string {
	for i, set := range d.cfg.Sets {
		if len(set.Grad.Nodes()) > 0 {
			return d.cfg.Names[i]
		}
	}
	return ""
}

// CheckSummed returns an error if gradients are not summed, or those of other passes of one set
// than of another.
func (d *Dense) CheckSummed() error {
	first := -1
	for i, set := range d.cfg.Sets {
		if set.Frozen {
			continue
		}
		if len(set.Grad.Nodes()) > 0 {
			return fmt.Errorf("the gradient of set %q waits for SumGradients", d.cfg.Names[i])
		}
		if first < 0 {
			first = i
		}
		if n, want := d.sums[i].passes, d.sums[first].passes; n != want {
			return fmt.Errorf("the gradients of set %q have been summed %d times since the last Step, those of %q %d times",
				d.cfg.Names[i], n, d.cfg.Names[first], want)
		}
	}
	return nil
}

// ReduceAll does nothing: Sum has done it.
func (d *Dense) ReduceAll(context.Context) error { return nil }

// Squares returns the sums of squares of the gradients that have been summed.
func (d *Dense) Squares() Squares {
	var s Squares
	for i, set := range d.cfg.Sets {
		if d.sums[i].passes > 0 {
			s.hold(fmt.Sprintf("set %q", d.cfg.Names[i]), set, d.sums[i].total)
		}
	}
	return s
}

// Scale multiplies the gradients that have been summed by factor.
func (d *Dense) Scale(factor float32) {
	for i := range d.sums {
		f32.Scale(d.sums[i].total, factor)
	}
}

// Discard forgets all gradients since the last step, those that are not summed too. What rounding
// has lost of those that are summed goes with them.
func (d *Dense) Discard() {
	for i := range d.sums {
		if s := &d.sums[i]; s.passes > 0 {
			clear(s.lost)
		}
	}
	d.restart()
}

// restart forgets the gradients of the last step.
func (d *Dense) restart() {
	for i := range d.sums {
		d.cfg.Sets[i].Grad.Reset()
		d.sums[i].passes = 0
	}
	d.summed = 0
}

// Step gives the sums to the optimizer, and forgets them, once all ranks can and have summed and
// frozen the same sets: those of another set may be as long, and would be added without an error.
func (d *Dense) Step(ctx context.Context, o expert.Optimizer) error {
	if _, err := (ranks{d.cfg.World, d.cfg.Joined}).ready(ctx, o, nil, d.stepped()); err != nil {
		return err
	}
	for i, set := range d.cfg.Sets {
		if s := &d.sums[i]; !set.Frozen && s.passes > 0 {
			o.Update(set, s.total)
		}
	}
	d.restart()
	return nil
}
