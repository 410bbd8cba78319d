// Package examples has the test of what the examples import.
package examples

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/switchyard-moe/switchyard/"

// internals lists, for each folder, the internal packages of the module that its code imports. An
// example shows what a user can write, so these are only tools of a command line: they draw charts,
// catch signals, start processes and write files. The model computes with the kernels.
var internals = map[string][]string{
	"quickstart": {},
	"checkpoint": {},
	"gate":       {},
	"dispatch":   {},
	"minimal":    {},
	"launch":     {"launch"},
	"serve":      {"launch"},

	"serve/internal/servepb": {},

	"compress":     {"figure", "interrupt", "outfile"},
	"train":        {"figure", "interrupt", "launch", "outfile"},
	"internal/gpt": {"f32", "gemm"},
}

// commandLine are the files of train that may use such tools; its trainer uses none.
var commandLine = []string{"main.go", "start.go", "options.go", "history.go", "result.go", "trace.go", "record.go"}

func TestExamplesImportOnlyWhatUsersMay(t *testing.T) {
	used := map[string]map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		folder, name := path.Split(filepath.ToSlash(file))
		folder = path.Clean(folder)
		require.Contains(t, internals, folder, "what may it import?")
		if used[folder] == nil {
			used[folder] = map[string]bool{}
		}
		for _, tool := range internalImports(t, file) {
			require.Contains(t, internals[folder], tool, "%s imports it", file)
			used[folder][tool] = true
			if folder == "train" {
				require.Contains(t, commandLine, name, "it imports %s", tool)
			}
		}
		return nil
	}))
	for folder, tools := range internals {
		require.Len(t, used[folder], len(tools), "%s no longer imports all of %v", folder, tools)
	}
}

// internalImports returns what a file imports from the module's folder internal. It allows no other
// internal package but those of the examples.
func internalImports(t *testing.T, file string) []string {
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
	require.NoError(t, err)
	var tools []string
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		inside, ours := strings.CutPrefix(name, module)
		if !ours {
			continue
		}
		require.False(t, strings.HasPrefix(inside, "bench"), "%s imports %s", file, name)
		if tool, ok := strings.CutPrefix(inside, "internal/"); ok {
			tools = append(tools, tool)
		} else if !strings.HasPrefix(inside, "examples/") {
			require.NotContains(t, strings.Split(inside, "/"), "internal", "%s imports %s", file, name)
		}
	}
	return tools
}
