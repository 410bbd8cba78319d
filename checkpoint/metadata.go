package checkpoint

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
)

// format is the version of what this package adds to the files of safetensors. A newer one is
// refused.
const format = 1

// metadata is what an index says beside the names of tensors and files.
type metadata struct {
	// Format is the version, or 0 of files that another program wrote.
	Format int `json:"switchyard_format,omitempty"`
	// Step is the step after which it was saved, and Ranks the number of ranks that saved it.
	Step  int `json:"switchyard_step"`
	Ranks int `json:"switchyard_ranks"`
	// Sums has the CRC-32C of the bytes of each tensor.
	Sums map[string]checksum `json:"switchyard_crc32c"`
	// Places says where each file was written, as host:folder, if not all ranks saw one folder.
	Places map[string]string `json:"switchyard_places,omitempty"`
	// Program has the strings of the program.
	Program map[string]string `json:"switchyard_metadata,omitempty"`
}

// checksum is a CRC-32C. It is written as eight hexadecimal digits.
type checksum uint32

// MarshalText returns the digits.
func (c checksum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(c)), nil }

// UnmarshalText reads what MarshalText returns.
func (c *checksum) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || len(text) != 8 || text[0] == '+' {
		return fmt.Errorf("checksum %.20q is not eight hexadecimal digits", text)
	}
	*c = checksum(v)
	return nil
}

// fields are the members of the metadata for the index.
func (m metadata) fields() (map[string]json.RawMessage, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	return fields, json.Unmarshal(text, &fields)
}

// parseMetadata reads the metadata of an index. Members that it does not know are not looked at.
func parseMetadata(fields map[string]json.RawMessage) (metadata, error) {
	version, found := fields["switchyard_format"]
	if !found {
		return metadata{}, nil
	}
	var m metadata
	if err := json.Unmarshal(version, &m.Format); err != nil || m.Format < 1 {
		return metadata{}, fmt.Errorf("switchyard_format is %.20q, want a number from 1", version)
	}
	if m.Format > format {
		return metadata{}, fmt.Errorf("switchyard_format is %d, and this version of the library reads up to %d: "+
			"a newer one wrote it", m.Format, format)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return metadata{}, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return metadata{}, err
	}
	if m.Step < 0 || m.Ranks < 1 {
		return metadata{}, fmt.Errorf("step %d of %d ranks", m.Step, m.Ranks)
	}
	return m, nil
}

// Keys of the metadata in the header of each file, by which files of different checkpoints are told
// apart.
const (
	formatKey = "switchyard_format"
	stepKey   = "switchyard_step"
)

// fileMetadata is what the header of a file says. Libraries of Python look at "format".
func fileMetadata(step int) map[string]string {
	return map[string]string{"format": "pt", formatKey: strconv.Itoa(format), stepKey: strconv.Itoa(step)}
}

// place notes where a file is, if the folders of the ranks are not one.
func (m *metadata) place(file, place, folder string) {
	if file == "" || place == "" {
		return
	}
	if m.Places == nil {
		m.Places = map[string]string{}
	}
	m.Places[file] = place + string(filepath.Separator) + filepath.Base(folder)
}
