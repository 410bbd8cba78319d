package alltoall

import (
	"encoding/json"
	"os"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// Save writes m to a file as JSON, for [LoadMeasured]: wholly, or not at all.
func (m Measured) Save(file string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = outfile.WriteBytes(file, append(text, '\n'))
	}
	if err != nil {
		return errtext.Errorf("alltoall: saving measured links: %w", err)
	}
	return nil
}

// LoadMeasured reads what [Measured.Save] wrote. It fails where that is no measurement. Whether it is one of this job's links is for the
// caller to know: Rounds say between how many ranks they were, and are not used for others.
func LoadMeasured(file string) (Measured, error) {
	var m Measured
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return Measured{}, errtext.Errorf("alltoall: loading measured links from %s: %w", file, err)
	}
	return m, nil
}
