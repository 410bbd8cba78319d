package checkpoint

import (
	"strings"

	"github.com/switchyard-moe/switchyard/param"
)

// late returns the entries that the parts make for tensors of the checkpoint that no entry of list
// is read from, or what is wrong with them.
func (o Options) late(s *source, parts []Part, list []tensor) ([]tensor, error) {
	taken := make(map[string]bool, len(list))
	for _, t := range list {
		taken[o.renamed(t.name)] = true
	}
	var made []Part
	for _, name := range s.names() {
		if taken[name] || isLocal(name) || matches(o.AllowExtra, name) {
			continue
		}
		for _, p := range parts {
			short, ok := p.shortName(name)
			if !ok || p.State.Make == nil {
				continue
			}
			of := Part{p.Name, &param.State{Entries: p.State.Make(short)}}
			for _, e := range of.State.Entries {
				taken[of.fullName(e)] = true
			}
			made = append(made, of)
		}
	}
	tensors, _, err := tensorsOf(made)
	return tensors, err
}

// shortName is the name in the part's state of a tensor of the checkpoint, if it may be the part's.
func (p Part) shortName(full string) (string, bool) {
	if p.Name == "" {
		return full, true
	}
	return strings.CutPrefix(full, p.Name+".")
}
