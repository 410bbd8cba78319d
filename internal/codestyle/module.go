package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// place is a line that has to change.
type place struct {
	file string
	line int
	what string
}

func (p place) String() string { return fmt.Sprintf("%s:%d: %s", p.file, p.line, p.what) }

// figures is what measure finds in a module.
type figures struct {
	layerMethods, layerFields int
	rootFiles, rootLines      int
	functions                 []int // lines of each function outside of tests
	longest                   int
	benchFiles, examples      int
	readmeLines, readmeWords  int
	docWords                  int
	wide, internal, words     []place
}

// percentile90 returns the length that nine of ten functions do not exceed.
func (f *figures) percentile90() int {
	if len(f.functions) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f.functions))
	return sorted[len(sorted)*9/10]
}

// measure reads the Go files and the documents of a module. Hidden folders and testdata are left
// out, and so is CHANGELOG.md, which quotes names of older versions.
func measure(module fs.FS) (*figures, error) {
	f := &figures{}
	err := fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skip(name)
		case name == "CHANGELOG.md" || path.Ext(name) != ".go" && path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		if path.Ext(name) == ".md" {
			f.document(name, string(text))
			return nil
		}
		return f.source(name, string(text))
	})
	return f, err
}

func skip(folder string) error {
	base := path.Base(folder)
	if base == "testdata" || folder != "." && strings.HasPrefix(base, ".") {
		return fs.SkipDir
	}
	return nil
}

// document counts the lines and words of a document. A page of docs whose first line says that it
// is generated does not count as words of docs.
func (f *figures) document(name, text string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	words := len(strings.Fields(text))
	generated := strings.Contains(strings.ToLower(lines[0]), "generated")
	switch {
	case name == "README.md":
		f.readmeLines, f.readmeWords = len(lines), words
	case strings.HasPrefix(name, "docs/") && !generated:
		f.docWords += words
	}
	for i, line := range lines {
		f.prose(name, i+1, line)
	}
}
