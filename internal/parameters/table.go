package parameters

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// Tensor is one tensor of a layer, whole: the first dimension of an expert tensor counts the
// experts of all ranks.
type Tensor struct {
	// Name is the part of the layer and the tensor's own name, as in "gate.w".
	Name string
	// Kind is the part of the layer.
	Kind param.Kind
	// Shape gives the dimensions, slowest first.
	Shape []int
	// Data holds the elements, row-major.
	Data []float32
}

const (
	gatePrefix   = "gate."
	expertPrefix = "expert."
	sharedPrefix = "shared."
	gainPrefix   = "compression."
	biasName     = "balance.bias"

	// In entries, where experts are listed one by one:
	expertsPrefix   = "experts."
	optimizerPrefix = "optimizer."
)

// Config describes the parameters of one rank, and where the rank stands among those that share a
// copy of the experts.
type Config struct {
	// Sets are the parameters, and Gate the gate, whose bias is listed if it balances its load by
	// one.
	Sets Sets
	Gate router.Gate
	// Placement says which experts each rank of the copy hosts.
	Placement alltoall.Placement
	// Order says which expert stands at which position of the placement.
	Order layout.Order
	// Rank is this rank's number in the copy, and Comm connects its ranks.
	Rank int
	Comm *collective.Comm
	// Copy is the number of this copy of the experts, of Copies.
	Copy, Copies int
	// Number is that of the layer in its world. Tensors that every rank holds are written by other
	// ranks for each layer.
	Number int
}

// Table lists the parameters of a layer by name.
type Table struct{ cfg Config }

// New makes a table, and sets the kind of each set.
func New(cfg Config) *Table {
	cfg.Sets.setKinds()
	return &Table{cfg}
}

// Parameters returns copies of all parameters, and of the bias. Every rank of the copy calls it.
func (t *Table) Parameters(ctx context.Context) ([]Tensor, error) {
	list, err := t.Whole(ctx, t.cfg.Sets.Values())
	if err != nil {
		return nil, err
	}
	if bias := biasOf(t.cfg.Gate); bias != nil {
		list = append(list, Tensor{
			Name: biasName, Kind: param.Bias, Shape: []int{len(bias)}, Data: slices.Clone(bias),
		})
	}
	return list, nil
}

// Whole returns vectors of this rank as whole tensors: those of experts of all ranks of the copy.
// Every rank of the copy calls it.
func (t *Table) Whole(ctx context.Context, v Vectors) ([]Tensor, error) {
	list := appendWhole(nil, gatePrefix, t.cfg.Sets.Gate, v.Gate)
	experts, err := t.wholeExperts(ctx, v.Experts)
	if err != nil {
		return nil, err
	}
	list = append(list, experts...)
	list = appendWhole(list, sharedPrefix, t.cfg.Sets.Shared, v.Shared)
	return appendWhole(list, gainPrefix, t.cfg.Sets.Gains, v.Gains), nil
}

// Gradients is Whole for vectors of all sets that are not frozen.
func (t *Table) Gradients(ctx context.Context, v Vectors) ([]Tensor, error) {
	trained := *t
	trained.cfg.Sets = t.cfg.Sets.trained()
	return trained.Whole(ctx, v)
}

// wholeExperts is Whole for the tensors of the experts.
func (t *Table) wholeExperts(ctx context.Context, groups [][]float32) (list []Tensor, err error) {
	first := t.cfg.Sets.Experts[0] // the others have the same tensors
	if first == nil {
		return nil, nil
	}
	for i, tensor := range first.Tensors() {
		var part []float32
		for g, set := range t.cfg.Sets.Experts {
			part = append(part, set.Of(groups[g], i)...)
		}
		name := expertPrefix + tensor.Name
		data, err := t.collect(ctx, part, sizeOfOne(tensor))
		if err != nil {
			return nil, errtext.Errorf("switchyard: tensor %s: %w", name, err)
		}
		list = append(list, Tensor{Name: name, Kind: param.Expert, Shape: t.shape(tensor), Data: data})
	}
	return list, nil
}

// sizeOfOne is the number of elements of one expert.
func sizeOfOne(tensor param.Tensor) int { return (param.Tensor{Shape: tensor.Shape[1:]}).Len() }

// shape is that of a tensor over all experts.
func (t *Table) shape(tensor param.Tensor) []int {
	return append([]int{t.cfg.Placement.Experts()}, tensor.Shape[1:]...)
}

// appendWhole appends the tensors of a set that every rank holds whole, with the elements vec.
func appendWhole(list []Tensor, prefix string, set *param.Set, vec []float32) []Tensor {
	if set == nil {
		return list
	}
	for i, t := range set.Tensors() {
		list = append(list, Tensor{
			Name: prefix + t.Name, Kind: set.Kind,
			Shape: slices.Clone(t.Shape), Data: slices.Clone(set.Of(vec, i)),
		})
	}
	return list
}

// collect puts the parts of the ranks of a copy together. each is the elements of one expert.
func (t *Table) collect(ctx context.Context, part []float32, each int) ([]float32, error) {
	whole := make([]float32, t.cfg.Placement.Experts()*each)
	parts := make([][]byte, t.cfg.Placement.Ranks())
	for r := range parts {
		begin, end := t.cfg.Placement.Of(r)
		parts[r] = view.Bytes(whole[begin*each : end*each])
	}
	copy(parts[t.cfg.Rank], view.Bytes(part))
	err := t.cfg.Comm.AllGatherV(ctx, parts)
	return layout.ByNumber(t.cfg.Order, whole), err
}

// List lists the parameters that this rank holds, and what else the gate keeps, as entries, with
// what o keeps for them; o may be nil.
func (t *Table) List(o expert.Stateful) *Lister {
	sets, ranks := &t.cfg.Sets, t.cfg.Placement.Ranks()
	l := NewLister(t.cfg.Copy*ranks+t.cfg.Rank, t.cfg.Copies*ranks, t.cfg.Number, o)
	l.AddSet(gatePrefix, sets.Gate)
	if bias := biasOf(t.cfg.Gate); bias != nil {
		l.Add(param.Entry{Name: biasName, Kind: param.Bias, Shape: []int{len(bias)}, Data: bias})
	}
	for _, e := range stateOf(t.cfg.Gate) {
		e.Name, e.Kind, e.Local = gatePrefix+e.Name, param.Gate, false
		l.Add(e)
	}
	first, _ := t.cfg.Placement.Of(t.cfg.Rank)
	l.AddExperts(expertsPrefix, Experts{
		Sets: sets.Experts, First: first, Order: t.cfg.Order, Copy: t.cfg.Copy, Copies: t.cfg.Copies,
	})
	l.AddSet(sharedPrefix, sets.Shared)
	l.AddSet(gainPrefix, sets.Gains)
	return l
}

// Sets returns the parameters that this rank holds.
func (t *Table) Sets() *Sets { return &t.cfg.Sets }
