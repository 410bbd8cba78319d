package switchyard

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/svgtest"
)

// TestPicturesOfTheDocsAreReadable in any of the fonts that a reader may have.
func TestPicturesOfTheDocsAreReadable(t *testing.T) {
	files, err := filepath.Glob("docs/*.svg")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		svg, err := os.ReadFile(file)
		require.NoError(t, err)
		svgtest.Readable(t, svg, file)
	}
}

// TestLinksOfTheDocs lead to files that are there.
func TestLinksOfTheDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	seen := 0
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			seen++
			_, err := os.Stat(filepath.Join(filepath.Dir(page), m[1]))
			require.NoError(t, err, "%s links to %s", page, m[1])
		}
	}
	require.Greater(t, seen, 10)
}

// TestProseOfTheDocs stands in lines of at most 100 columns, except tables and generated pages.
func TestProseOfTheDocs(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		if strings.HasPrefix(string(text), "<!-- Generated") {
			continue
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			if !strings.HasPrefix(line, "|") {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 100, "%s:%d", page, number)
			}
		}
	}
}
