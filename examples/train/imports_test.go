package main

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTrainerUsesOnlyWhatUsersMayImport: beside what every user can import there is the model, and,
// for the command line, the tools that start processes, catch signals and write files.
func TestTrainerUsesOnlyWhatUsersMayImport(t *testing.T) {
	const library = "github.com/switchyard-moe/switchyard/"
	tools := []string{"internal/figure", "internal/interrupt", "internal/launch", "internal/outfile"}
	commandLine := []string{"main.go", "start.go", "options.go", "history.go", "result.go", "trace.go"}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			inside, ours := strings.CutPrefix(path, library)
			if !ours || !strings.HasPrefix(inside, "internal/") {
				continue
			}
			require.Contains(t, tools, inside, "%s imports it", file)
			require.Contains(t, commandLine, file, "imports %s", inside)
		}
	}
}
