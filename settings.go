package switchyard

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/printable"
)

// settings is a configuration as text, a field a line, for comparing it between ranks.
type settings struct{ strings.Builder }

// longestSetting is the most bytes of a field that are compared as they are; a digest stands for
// those of a longer one.
const longestSetting = 256

// add adds a field. Its text is kept on one line, whatever is in it.
func (s *settings) add(name, format string, value any) {
	text := fmt.Sprintf(format, value)
	if len(text) > longestSetting {
		text = fmt.Sprintf("%s (%d bytes, SHA-256 %x)", printable.Text(text, longestSetting), len(text), sha256.Sum256([]byte(text)))
	}
	fmt.Fprintf(s, "%s=%s\n", name, printable.Text(text, 2*longestSetting))
}

// settings are all fields in which ranks must agree.
func (c Config) settings() string {
	var s settings
	s.add("Dim", "%d", c.Dim)
	s.add("Experts", "%d", c.Experts)
	s.add("Router", "%s", describe(c.Router))
	s.add("Expert", "%s", describe(c.Expert))
	s.add("Shared", "%s", describe(c.Shared))
	s.add("ExpertParallel", "%d", c.ExpertParallel)
	s.add("Hosted", "%v", c.Hosted)
	s.add("Compression", "%s", c.Compression)
	s.add("Group", "%d", c.Group)
	s.add("MicroBatches", "%d", c.MicroBatches)
	s.add("Algorithm", "%s", cmp.Or(os.Getenv(alltoall.AlgorithmVariable), c.Algorithm.String()))
	s.add("Topology", "%v", c.Topology.Node)
	s.add("Links", "%+v", c.Links)
	s.add("Wire", "%+v", c.Wire)
	s.add("Overlap", "%v", [2]any{c.Overlap.Degree, c.Overlap.Auto})
	s.add("Overlap.Profile", "%s", describe(c.Overlap.Profile))
	s.add("Overlap.Background", "%t", c.Overlap.Background != nil)
	s.add("MaxRows", "%d", c.MaxRows)
	s.add("Seed", "%d", c.Seed)
	return s.String()
}

// describe prints a router or an expert by its type and settings. A type whose settings do not
// print alike on every rank (functions, pointers) says what it is by a String method.
func describe(v any) string {
	if s, ok := v.(fmt.Stringer); ok {
		return fmt.Sprintf("%T %s", v, s)
	}
	return fmt.Sprintf("%T%+v", v, v)
}

// difference names the first field in which two texts of settings differ.
func difference(mine, theirs string) string {
	const maxShown = 4 * longestSetting
	a, b := strings.Split(mine, "\n"), strings.Split(theirs, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("here %s, there %s", printable.Text(a[i], maxShown), printable.Text(b[i], maxShown))
		}
	}
	return "their lengths differ"
}
