package parameters

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/param"
)

// Lister lists the entries of one part of a model on one rank: parameters, each followed by what
// the optimizer keeps for it. Tensors that every rank holds are written by one rank after the
// other.
type Lister struct {
	rank, size int
	next       int             // number of the next tensor that every rank holds
	optimizer  expert.Stateful // nil: its state is not listed
	makes      bool            // state that the optimizer does not hold yet, of frozen sets too
	entries    []param.Entry
	makers     []maker
	loaded     []func() error
	current    []func() error
	faults     []error
}

// maker lists sets again, with what the optimizer keeps for them, once a load needs that.
type maker struct {
	prefix string                 // of the sets' names
	has    func(rest string) bool // whether the name, without the prefix, may be of one of them
	list   func(*Lister)
	made   bool
}

// NewLister lists entries of a rank of a world of the given size. first is the rank that writes the
// first of the tensors that every rank holds; it may be larger than the world.
func NewLister(rank, size, first int, o expert.Stateful) *Lister {
	return &Lister{rank: rank, size: size, next: first, optimizer: o}
}

// Stateful returns o as an optimizer whose state can be listed; nil, if o is, for one that keeps
// nothing.
func Stateful(o expert.Optimizer) (expert.Stateful, error) {
	if o == nil {
		return nil, nil
	}
	if check.Nil(o) {
		return nil, fmt.Errorf("the optimizer is a nil %T; give no value to leave its state out", o)
	}
	s, ok := o.(expert.Stateful)
	if !ok {
		return nil, fmt.Errorf("the state of the optimizer cannot be saved: %T is no expert.Stateful; "+
			"give no optimizer if it keeps nothing", o)
	}
	return s, nil
}

// State returns what has been listed. No name may be in it twice.
func (l *Lister) State() (*param.State, error) {
	seen := make(map[string]bool, len(l.entries))
	for _, e := range l.entries {
		if seen[e.Name] {
			l.faults = append(l.faults, fmt.Errorf("two tensors are called %q", e.Name))
		}
		seen[e.Name] = true
		if err := checkData(e); err != nil {
			l.faults = append(l.faults, err)
		}
	}
	if err := errors.Join(l.faults...); err != nil {
		return nil, err
	}
	return &param.State{Entries: l.entries, Make: l.makeFor, Current: l.checkCurrent, Loaded: l.takeOver}, nil
}

// makeFor is Make of the state.
func (l *Lister) makeFor(name string) (list []param.Entry) {
	for i := range l.makers {
		m := &l.makers[i]
		rest, ok := strings.CutPrefix(name, optimizerPrefix+m.prefix)
		if m.made || !ok || !m.has(rest) {
			continue
		}
		all := &Lister{rank: l.rank, size: l.size, optimizer: l.optimizer, makes: true}
		m.list(all)
		own := slices.DeleteFunc(all.entries, func(e param.Entry) bool { return !strings.HasPrefix(e.Name, optimizerPrefix) })
		if slices.ContainsFunc(own, func(e param.Entry) bool { return e.Name == name }) {
			m.made = true
			list, l.loaded = append(list, own...), append(l.loaded, all.loaded...)
		}
	}
	return list
}

// checkData returns what is wrong with the data of an entry.
func checkData(e param.Entry) error {
	n := 0
	switch data := e.Data.(type) {
	case []float32:
		n = len(data)
	case []float64:
		n = len(data)
	case []int64:
		n = len(data)
	case []byte:
		n = len(data)
	default:
		return fmt.Errorf("%s is a %T, want []float32, []float64, []int64 or []byte", e.Name, e.Data)
	}
	if want := (param.Tensor{Shape: e.Shape}).Len(); n != want {
		return fmt.Errorf("%s has %d elements, want %d for its shape %v", e.Name, n, want, e.Shape)
	}
	return nil
}

// takeOver is Loaded of the state.
func (l *Lister) takeOver() error { return all(l.loaded) }

// checkCurrent is Current of the state.
func (l *Lister) checkCurrent() error {
	if err := all(l.current); err != nil {
		return fmt.Errorf("the state is an old one, call State for each save: %w", err)
	}
	return nil
}

// all does everything, and returns all errors.
func all(list []func() error) error {
	var faults []error
	for _, do := range list {
		faults = append(faults, do())
	}
	return errors.Join(faults...)
}

// OnSave has do called before a save. It returns an error if what has been listed as a copy has
// changed since.
func (l *Lister) OnSave(do func() error) { l.current = append(l.current, do) }

// Changed is the error of OnSave for what was and is.
func Changed(name string, was, is any) error { return fmt.Errorf("%s was %v and is %v", name, was, is) }

// OnLoad has do called once the data of the entries have been loaded.
func (l *Lister) OnLoad(do func() error) { l.loaded = append(l.loaded, do) }

// Add lists a tensor that every rank holds, and chooses its writer.
func (l *Lister) Add(e param.Entry) {
	e.Writer = l.next%l.size == l.rank
	l.next++
	l.entries = append(l.entries, e)
}

// Trains tells whether the list has what an optimizer keeps, to go on training with.
func (l *Lister) Trains() bool { return l.optimizer != nil }

// AddLocal lists a tensor of this rank alone.
func (l *Lister) AddLocal(e param.Entry) {
	e.Name = fmt.Sprintf("%s.rank-%05d-of-%05d", e.Name, l.rank, l.size)
	e.Role, e.Writer, e.Local = param.Training, true, true
	l.entries = append(l.entries, e)
}

// AddSet lists a set that every rank holds.
func (l *Lister) AddSet(prefix string, set *param.Set) {
	if set == nil {
		return
	}
	l.makeLater(prefix, set, func(string) bool { return true }, func(all *Lister) { all.AddSet(prefix, set) })
	state := l.stateOf(set, 1)
	all := vectors(set, state)
	for i, t := range set.Tensors() {
		for _, v := range all {
			l.Add(v.entry(set, prefix+t.Name, t.Shape, v.part(set, 1, i, 0)))
		}
	}
	l.addScalars(prefix, []expert.State{state})
}

// Experts are the experts that one rank hosts, in consecutive groups, of which the first begins at
// position First of Order. Each of the Copies of all experts has them once; this rank is of copy
// number Copy.
type Experts struct {
	Sets         []*param.Set
	First        int
	Order        layout.Order
	Copy, Copies int
}

// has tells whether a name without the prefix may be of one of the experts: it does not begin with
// the number of another. A load asks for the tensors of all experts.
func (of Experts) has(rest string) bool {
	text, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return err != nil
	}
	if n = of.Order.Position(n); n < of.First {
		return false
	}
	for _, set := range of.Sets {
		n -= countOf(set)
	}
	return n < of.First
}

// countOf is the number of experts of a set.
func countOf(set *param.Set) int {
	if len(set.Tensors()) == 0 {
		return 0
	}
	return set.Tensors()[0].Shape[0]
}

// AddExperts lists the tensors of experts one by one. The copies write them in turn.
func (l *Lister) AddExperts(prefix string, of Experts) {
	if of.Sets[0] == nil {
		return
	}
	l.makeLater(prefix, of.Sets[0], of.has, func(all *Lister) { all.AddExperts(prefix, of) })
	first := of.First
	states := make([]expert.State, len(of.Sets))
	for g, set := range of.Sets {
		states[g] = l.stateOf(set, countOf(set))
		first = l.addGroup(prefix, set, vectors(set, states[g]), first, of)
	}
	l.addScalars(prefix, states)
}

// addGroup lists the tensors of a group of experts, and returns the number of the expert after
// them.
func (l *Lister) addGroup(prefix string, set *param.Set, all []vector, first int, of Experts) int {
	count := countOf(set)
	for j := range count {
		number := of.Order.Expert(first + j)
		for i, t := range set.Tensors() {
			for _, v := range all {
				e := v.entry(set, fmt.Sprintf("%s%d.%s", prefix, number, t.Name), t.Shape[1:], v.part(set, count, i, j))
				e.Writer = number%of.Copies == of.Copy
				l.entries = append(l.entries, e)
			}
		}
	}
	return first + count
}

// leavesOut tells whether what the optimizer keeps for a set is not listed, since it holds nothing:
// to list it would make it, as large as the set, for one that is frozen.
func (l *Lister) leavesOut(set *param.Set) bool {
	return l.optimizer == nil || set.Frozen && !l.makes && !l.optimizer.Holds(set)
}

// makeLater notes how to list sets with what is left out unless a load asks for it.
func (l *Lister) makeLater(prefix string, set *param.Set, has func(rest string) bool, list func(*Lister)) {
	if l.optimizer != nil && l.leavesOut(set) {
		l.makers = append(l.makers, maker{prefix: prefix, has: has, list: list})
		l.OnSave(func() error {
			if !l.leavesOut(set) {
				return fmt.Errorf("what %T keeps for %q was left out, as it was frozen", l.optimizer, prefix)
			}
			return nil
		})
	}
}

// stateOf is what the optimizer keeps for a set whose tensors have this number of parts.
func (l *Lister) stateOf(set *param.Set, parts int) expert.State {
	if l.leavesOut(set) {
		return expert.State{}
	}
	state := l.optimizer.State(set)
	state.Moments = slices.DeleteFunc(slices.Clone(state.Moments), func(m expert.Moment) bool {
		err := checkMoment(set, parts, m)
		if err != nil {
			l.faults = append(l.faults, fmt.Errorf("moment %q of %T has %w", m.Name, l.optimizer, err))
		}
		return err != nil
	})
	l.keepMoments(set, state.Moments)
	return state
}

// keepMoments has a save and a load return an error if the optimizer keeps moments elsewhere by
// then, as once it rounds them in another way: those that are listed are of no use.
func (l *Lister) keepMoments(set *param.Set, listed []expert.Moment) {
	if len(listed) == 0 {
		return
	}
	check := func() error {
		now := l.optimizer.State(set).Moments
		for i, m := range listed {
			if i >= len(now) || !sameMemory(m.Data, now[i].Data) || !sameMemory(m.Codes, now[i].Codes) {
				return fmt.Errorf("%T keeps moment %q elsewhere since this State: call State again", l.optimizer, m.Name)
			}
		}
		return nil
	}
	l.OnSave(check)
	l.OnLoad(check)
}

// sameMemory tells whether two slices are one.
func sameMemory[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// addScalars lists the numbers that an optimizer keeps for sets of the same updates, in all of
// which they are the same. A load sets them in all.
func (l *Lister) addScalars(prefix string, states []expert.State) {
	for i, s := range states[0].Scalars {
		name, value := optimizerPrefix+prefix+s.Name, []float64{*s.Value}
		l.Add(param.Entry{Name: name, Role: param.Training, Data: value})
		var all []*float64
		for _, of := range states {
			if i >= len(of.Scalars) || math.Float64bits(*of.Scalars[i].Value) != math.Float64bits(value[0]) {
				l.faults = append(l.faults, fmt.Errorf("%T has not the same %q for all sets of %q", l.optimizer, s.Name, prefix))
				return
			}
			all = append(all, of.Scalars[i].Value)
		}
		l.OnSave(func() error {
			if *all[0] != value[0] {
				return Changed(name, value[0], *all[0])
			}
			return nil
		})
		l.OnLoad(func() error {
			if value[0]-value[0] != 0 {
				return fmt.Errorf("%s is %v, want a finite number", name, value[0])
			}
			for _, v := range all {
				*v = value[0]
			}
			return nil
		})
	}
}

// checkMoment returns what is wrong with the length of a moment.
func checkMoment(set *param.Set, parts int, m expert.Moment) error {
	if m.Size == nil {
		if len(m.Data) != len(set.Value) {
			return fmt.Errorf("%d elements for %d parameters", len(m.Data), len(set.Value))
		}
		return nil
	}
	v := vector{size: m.Size}
	if want := v.start(set, parts, len(set.Tensors())); len(m.Codes) != want {
		return fmt.Errorf("%d bytes for %d parameters, want %d for %d parts of each tensor",
			len(m.Codes), len(set.Value), want, parts)
	}
	return nil
}

// vector is laid out as the values of a set: the values themselves, or a moment.
type vector struct {
	moment string // "" for the values
	data   []float32
	codes  []byte          // in place of data, if size is not nil
	size   func(n int) int // the bytes in codes of n elements
}

// vectors lists the values of a set and what the optimizer keeps for them.
func vectors(set *param.Set, state expert.State) []vector {
	list := []vector{{data: set.Value}}
	for _, m := range state.Moments {
		list = append(list, vector{m.Name, m.Data, m.Codes, m.Size})
	}
	return list
}

// part is what belongs to part j of tensor i of a set whose tensors have this number of parts.
func (v *vector) part(set *param.Set, parts, i, j int) any {
	if v.size == nil {
		each := set.Tensors()[i].Len() / max(parts, 1)
		return set.Of(v.data, i)[j*each : (j+1)*each : (j+1)*each]
	}
	n := v.size(set.Tensors()[i].Len() / parts)
	at := v.start(set, parts, i) + j*n
	return v.codes[at : at+n : at+n]
}

// start is where tensor i begins in codes.
func (v *vector) start(set *param.Set, parts, i int) (at int) {
	for _, t := range set.Tensors()[:i] {
		at += parts * v.size(t.Len()/max(parts, 1))
	}
	return at
}

// entry describes data, elements or codes of v, which belong to the tensor called name.
func (v *vector) entry(set *param.Set, name string, shape []int, data any) param.Entry {
	e := param.Entry{Name: name, Kind: set.Kind, Shape: slices.Clone(shape), Data: data}
	if codes, ok := data.([]byte); ok {
		e.Shape = []int{len(codes)}
	}
	if v.moment != "" {
		e.Name, e.Role = optimizerPrefix+name+"."+v.moment, param.Training
	}
	return e
}
