package checkpoint

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/param"
)

// Config says where and how a [Saver] saves. All ranks have the same but for Dir and Metadata.
type Config struct {
	// Dir is the folder in which each save makes a folder for its step. It is made if it does not
	// exist. What is in it under the names of steps belongs to the saver, which removes old
	// checkpoints and what interrupted saves have left; no two jobs save into one folder at a time.
	Dir string
	// Local says that Dir is not the same folder for all ranks: each has one of its own, or shares
	// one with the other ranks of its host. Without it all ranks see the same files. What every rank
	// holds is written by one: before a load, copy the files of all hosts to each. The index says
	// where they are.
	Local bool
	// Keep is the number of complete checkpoints that are kept, the last ones; 0 keeps all. An older
	// one is removed once the new one is complete, so there is room for one more.
	Keep int
	// NoCopy writes from the memory of the layers instead of a copy: [Saver.Save] then returns only
	// when all is written, and takes no memory for a copy.
	NoCopy bool
	// BytesPerSecond limits the rate at which this rank writes; 0 is no limit.
	BytesPerSecond int64
	// Metadata are strings of the program's own, in UTF-8, that go with each checkpoint; those of
	// rank 0 are written. [Info] has them.
	Metadata map[string]string
}

// maxMetadata bounds the bytes of Config.Metadata. What is larger is data, and belongs in a Part.
const maxMetadata = 1 << 20

// Validate reports every field that cannot be, and nil if there is none.
func (c Config) Validate() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("checkpoint: "+format, args...)) }
	if c.Dir == "" {
		add("Config.Dir is empty, want a folder")
	}
	if c.Keep < 0 {
		add("Config.Keep is %d, want at least 0", c.Keep)
	}
	if c.BytesPerSecond < 0 {
		add("Config.BytesPerSecond is %d, want at least 0", c.BytesPerSecond)
	}
	size := 0
	for k, v := range c.Metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			add("Config.Metadata[%.200q] is not UTF-8, which the files are", k)
		}
		size += len(k) + len(v)
	}
	if size > maxMetadata {
		add("Config.Metadata has %d bytes, can have %d", size, maxMetadata)
	}
	return errors.Join(faults...)
}

// Part is a part of the model: a layer, or parameters of the program's own.
type Part struct {
	// Name begins the names of the part's tensors in the files: "layers.3" makes
	// "layers.3.gate.w". With an empty name they are those of the state. The full names are unique.
	Name string
	// State is what is saved or loaded, as Layer.State returns it.
	State *param.State
}

// fullName is the name in a file of an entry of the part.
func (p Part) fullName(e param.Entry) string {
	if p.Name == "" {
		return e.Name
	}
	return p.Name + "." + e.Name
}
