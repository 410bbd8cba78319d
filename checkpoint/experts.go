package checkpoint

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/param"
)

// LoadExperts loads single experts of another checkpoint into a layer: experts that were trained
// apart, or one expert several times. For each key of experts it reads expert experts[key] of the
// layer whose tensors begin with from in the checkpoint at path, as "layers.2" or "", into expert
// key of the part, which one of the ranks holds. Every rank calls it with the same experts; path is
// what [Load] takes. Types and shapes must be the same. Moments and everything else of the part
// keep their values.
func LoadExperts(ctx context.Context, world *switchyard.World, path string, part Part, from string, experts map[int]int) (Info, error) {
	l := &load{parts: []Part{part}, experts: &expertSources{sources: experts}}
	if part.State != nil { // without one the load has a fault, on all ranks
		wanted, renamed := l.experts.of(part, from)
		l.parts[0].State = wanted
		l.options.Rename = func(name string) string { return renamed[name] }
	}
	return l.run(ctx, world, path)
}

// expertSources are what LoadExperts is asked to load.
type expertSources struct {
	sources map[int]int // numbers in the checkpoint, by those in the part
	held    []int       // of the keys, those that this rank holds
}

// of returns a state of the experts' parameters alone, and their names in the checkpoint.
func (x *expertSources) of(part Part, from string) (wanted *param.State, renamed map[string]string) {
	wanted, renamed = &param.State{Current: part.State.Current, Loaded: part.State.Loaded}, map[string]string{}
	for _, e := range part.State.Entries {
		number, tensor, ok := expertOf(e)
		if !ok {
			continue
		}
		if source, ok := x.sources[number]; ok {
			wanted.Entries = append(wanted.Entries, e)
			renamed[part.fullName(e)] = Part{Name: from}.fullName(param.Entry{Name: expertName(source, tensor)})
			x.held = append(x.held, number)
		}
	}
	return wanted, renamed
}

// check adds experts that no rank holds to the faults.
func (x *expertSources) check(faults *faultList, ranks []found) {
	held := map[int]bool{}
	for _, r := range ranks {
		for _, number := range r.Held {
			held[number] = true
		}
	}
	for _, number := range slices.Sorted(maps.Keys(x.sources)) {
		if !held[number] {
			faults.add("expert %d is held by no rank", number)
		}
	}
}

// expertOf returns the number of the expert that a parameter belongs to, and the name of its
// tensor.
func expertOf(e param.Entry) (number int, tensor string, ok bool) {
	rest, found := strings.CutPrefix(e.Name, "experts.")
	digits, tensor, dot := strings.Cut(rest, ".")
	number, err := strconv.Atoi(digits)
	return number, tensor, found && dot && err == nil && e.Role == param.Parameter && e.Name == expertName(number, tensor)
}

func expertName(number int, tensor string) string {
	return fmt.Sprintf("experts.%d.%s", number, tensor)
}
