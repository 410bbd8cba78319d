package param

import (
	"fmt"
	"reflect"
	"slices"
)

// State is what one part of a model on one rank needs to go on with the same bits: a layer with the
// moments of its optimizer, or a program's own parameters. A checkpoint saves and loads it.
type State struct {
	// Entries are the tensors that this rank holds. Those that other ranks hold too stand in the
	// list of each of them.
	Entries []Entry
	// Make, if it is not nil, is to be called by a load for the name of each tensor of the
	// checkpoint, without the name of the part, that no entry has. If the part can take the tensor
	// it makes the memory, and returns the entries that are then to be loaded too: the moments of a
	// frozen set, which are not made before they are needed.
	Make func(name string) []Entry
	// Current, if it is not nil, is to be called by a save before it reads the data, and by a load
	// that is to leave some of them as they are. Its error says that they are not those of now, as
	// where the part has taken a step since it listed them, or is in the middle of one.
	Current func() error
	// Loaded, if it is not nil, is to be called once after a load has filled the data of the
	// entries, before anything else is done with the part. It takes over what the part keeps in
	// another form. Its error says which entry has a value that cannot be, and then the part must
	// not be used.
	Loaded func() error
}

// Entry is one tensor of a [State].
type Entry struct {
	// Name is unique in its state, as in "experts.17.w_up", the weights of expert 17.
	Name string
	// Kind is the part of the model that the tensor belongs to.
	Kind Kind
	// Role says what the tensor is for.
	Role Role
	// Shape gives the dimensions, slowest first; a scalar has none.
	Shape []int
	// Data is the memory of its owner, row-major: a []float32, []float64, []int64 or []byte. A save
	// reads it and a load writes it, between steps, while nothing else uses it.
	Data any
	// Writer tells whether this rank writes the tensor into a checkpoint. Of the ranks that hold it
	// one does.
	Writer bool
	// Local tells that the tensor belongs to this rank of a world of this size alone; its name ends
	// with both numbers. Where the checkpoint has none, as one of another number of ranks, a load
	// leaves the data as they are; one that no rank lists it leaves out.
	Local bool
}

// Role says what the tensor of an [Entry] is for.
type Role int

const (
	// Parameter tensors are all that is needed to use the model.
	Parameter Role = iota
	// Training tensors are needed besides to go on training: moments of an optimizer, counters.
	Training
)

// String returns the role's name in lower case.
func (r Role) String() string {
	if r == Training {
		return "training"
	}
	return "parameter"
}

// Clone returns the entry with a copy of its data.
func (e Entry) Clone() Entry {
	switch data := e.Data.(type) {
	case []float32:
		e.Data = slices.Clone(data)
	case []float64:
		e.Data = slices.Clone(data)
	case []int64:
		e.Data = slices.Clone(data)
	case []byte:
		e.Data = slices.Clone(data)
	}
	return e
}

// CopyFrom copies the data of another entry into the memory of e's. Both must have the same type
// and length, which is one of those of [Entry.Data]; else nothing is changed, and the error names
// e and what differs.
func (e Entry) CopyFrom(from Entry) error {
	same := false
	switch to := e.Data.(type) {
	case []float32:
		same = copySame(to, from.Data)
	case []float64:
		same = copySame(to, from.Data)
	case []int64:
		same = copySame(to, from.Data)
	case []byte:
		same = copySame(to, from.Data)
	}
	if !same {
		return fmt.Errorf("param: entry %q has %s, and what is copied %s", e.Name, sizeOf(e.Data), sizeOf(from.Data))
	}
	return nil
}

// copySame copies from if it is like to, and tells whether it is.
func copySame[T any](to []T, from any) bool {
	data, ok := from.([]T)
	if ok = ok && len(data) == len(to); ok {
		copy(to, data)
	}
	return ok
}

// sizeOf describes the data of an entry.
func sizeOf(data any) string {
	v := reflect.ValueOf(data)
	if v.Kind() != reflect.Slice {
		return fmt.Sprintf("data of type %T", data)
	}
	return fmt.Sprintf("%d elements of a %T", v.Len(), data)
}
