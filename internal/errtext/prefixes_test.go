package errtext

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPrefixesOfThePackages: those with which errors of packages that a user may import begin, and
// of packages below them, are known.
func TestPrefixesOfThePackages(t *testing.T) {
	begins := regexp.MustCompile(`(?:errors\.New|Errorf)\("([a-z0-9]+): `)
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (d.Name() == "bench" || d.Name() == "examples" || d.Name() == "deploy" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		code, err := os.ReadFile(file)
		for _, m := range begins.FindAllStringSubmatch(string(code), -1) {
			seen[m[1]] = true
			if !isPrefix(m[1]) {
				t.Errorf("%s: %q is not among the prefixes", file, m[1])
			}
		}
		return err
	}))
	require.Greater(t, len(seen), 10)
}
