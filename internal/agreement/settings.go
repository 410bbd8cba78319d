package agreement

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/printable"
)

// Settings is a configuration as text, a field a line, for comparing it between ranks.
type Settings struct{ text strings.Builder }

// Fields are settings that fmt prints alike on every rank: a name and a value each.
func Fields(namesAndValues ...any) *Settings {
	s := new(Settings)
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		s.Add(fmt.Sprint(namesAndValues[i]), "%+v", namesAndValues[i+1])
	}
	return s
}

// longestSetting is the most bytes of a field that are compared as they are. A digest stands for
// the bytes of a longer one.
const longestSetting = 256

// Add adds a field. Its text is kept on one line, whatever is in it.
func (s *Settings) Add(name, format string, value any) {
	text := fmt.Sprintf(format, value)
	if len(text) > longestSetting {
		text = fmt.Sprintf("%s (%d bytes, SHA-256 %x)",
			printable.Text(text, longestSetting), len(text), sha256.Sum256([]byte(text)))
	}
	fmt.Fprintf(&s.text, "%s=%s\n", name, printable.Text(text, 2*longestSetting))
}

// Describe prints a router or an expert by its type and settings. A type whose settings do not
// print alike on every rank (functions, pointers) describes itself by a String method.
func Describe(v any) string {
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
			return fmt.Sprintf("here %s, there %s",
				printable.Text(a[i], maxShown), printable.Text(b[i], maxShown))
		}
	}
	return "their lengths differ"
}
