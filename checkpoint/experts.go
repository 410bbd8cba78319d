package checkpoint

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/param"
)

// LoadExperts loads single experts of another checkpoint into a layer: experts that were trained
// apart, or one expert several times. For each key of experts it reads expert experts[key] of the
// layer whose tensors begin with from in the checkpoint at path, as "layers.2" or "", into expert
// key of the part. Every rank calls it with the same experts; path is what [Load] takes. Types and
// shapes must be the same. Moments and everything else of the part keep their values.
func LoadExperts(ctx context.Context, world *switchyard.World, path string, part Part, from string, experts map[int]int) (Info, error) {
	if part.State == nil {
		return Info{}, errtext.Errorf("checkpoint: LoadExperts: part %.200q has no State", part.Name)
	}
	wanted := *part.State
	wanted.Entries = nil
	renamed := map[string]string{}
	for _, e := range part.State.Entries {
		number, tensor, ok := expertOf(e)
		if !ok {
			continue
		}
		if source, ok := experts[number]; ok {
			wanted.Entries = append(wanted.Entries, e)
			renamed[part.fullName(e)] = Part{Name: from}.fullName(param.Entry{Name: expertName(source, tensor)})
		}
	}
	o := Options{
		AllowExtra: []string{"*"},
		Rename:     func(name string) string { return renamed[name] },
	}
	return Load(ctx, world, path, o, Part{Name: part.Name, State: &wanted})
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
