package checkpoint

import (
	"errors"
	"path"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Options say what a load accepts. The zero value is strict: the checkpoint has each tensor of the
// parts, with its shape and type, and no others.
type Options struct {
	// Local says that not all ranks see the same files, as in Config: each reads from a folder of
	// its own. The latest step is then the latest that is complete for all.
	Local bool
	// AllowMissing are patterns, as path.Match has them, for names of entries that the checkpoint
	// may lack. They keep their values.
	AllowMissing []string
	// AllowExtra are patterns for names of tensors in the checkpoint that no rank may want, the same
	// on all ranks.
	AllowExtra []string
	// Rename, if it is not nil, returns the name in the checkpoint of an entry with the given full
	// name, or "" for an entry that is to keep its values. Several entries may have one tensor.
	Rename func(name string) string
	// Check, if it is not nil, is called once the checkpoint is chosen and its indexes are read, with
	// Tensors and Bytes of 0. Its error, on any rank, fails the load before names are compared and
	// before anything changes: the metadata may not be those of the program's own settings.
	Check func(Info) error
}

// Validate reports every pattern that cannot be.
func (o Options) Validate() error {
	var faults []error
	for _, list := range []struct {
		field    string
		patterns []string
	}{{"AllowMissing", o.AllowMissing}, {"AllowExtra", o.AllowExtra}} {
		for _, p := range list.patterns {
			if _, err := path.Match(p, ""); err != nil {
				faults = append(faults, errtext.Errorf("checkpoint: Options.%s: pattern %q: %w", list.field, p, err))
			}
		}
	}
	return errors.Join(faults...)
}

// renamed is the name in the checkpoint of an entry, or "".
func (o Options) renamed(name string) string {
	if o.Rename == nil {
		return name
	}
	return o.Rename(name)
}

// matches tells whether any of the patterns, which are valid, matches name.
func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}
