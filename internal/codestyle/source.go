package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strings"
	"unicode/utf8"
)

// maxColumns is the width of a comment line; a tab counts as one column.
const maxColumns = 100

// source is one Go file while it is measured.
type source struct {
	*figures
	files  *token.FileSet
	parsed *ast.File
	name   string // from the root of the module
	folder string
	test   bool
	lines  []string
}

// source measures a Go file; generated files do not count.
func (f *figures) source(name, text string) error {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil || ast.IsGenerated(parsed) {
		return err
	}
	s := &source{
		figures: f, files: files, parsed: parsed,
		name: name, folder: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
		lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n"),
	}
	s.countFile()
	s.comments()
	s.declarations()
	if !s.test && parsed.Name.Name != "main" && !isInternal(s.folder) {
		s.exported()
	}
	return nil
}

func (s *source) line(n ast.Node) int { return s.files.Position(n.Pos()).Line }

func (s *source) countFile() {
	switch {
	case s.test:
	case s.folder == ".":
		s.rootFiles++
		s.rootLines += len(s.lines)
	case s.folder == "bench":
		s.benchFiles++
	}
}

// comments looks at each line of each comment: its width with the code before it, and its words.
func (s *source) comments() {
	for _, group := range s.parsed.Comments {
		for _, c := range group.List {
			for i, text := range strings.Split(c.Text, "\n") {
				line := s.line(c) + i
				s.width(line, text)
				s.prose(s.name, line, text)
			}
		}
	}
}

func (s *source) width(line int, comment string) {
	n := utf8.RuneCountInString(s.lines[line-1])
	if n > maxColumns && !strings.HasPrefix(comment, "//go:") {
		s.wide = append(s.wide, place{s.name, line, "comment line is too long"})
	}
}

// declarations looks at every name that the file declares, and measures its functions.
func (s *source) declarations() {
	ast.Inspect(s.parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			s.identifiers(n.Name)
			s.function(n)
		case *ast.TypeSpec:
			s.identifiers(n.Name)
			s.layer(n)
		case *ast.Field:
			s.identifiers(n.Names...)
		case *ast.ValueSpec:
			s.identifiers(n.Names...)
		case *ast.AssignStmt:
			s.assigned(n.Tok, n.Lhs...)
		case *ast.RangeStmt:
			s.assigned(n.Tok, n.Key, n.Value)
		}
		return true
	})
}

func (s *source) assigned(t token.Token, to ...ast.Expr) {
	if t != token.DEFINE {
		return
	}
	for _, e := range to {
		if name, ok := e.(*ast.Ident); ok {
			s.identifiers(name)
		}
	}
}

func (s *source) function(f *ast.FuncDecl) {
	if s.test {
		if strings.HasPrefix(f.Name.Name, "Example") {
			s.examples++
		}
		return
	}
	n := s.files.Position(f.End()).Line - s.line(f) + 1
	s.functions = append(s.functions, n)
	s.longest = max(s.longest, n)
	if s.folder == "." && receiver(f) == "Layer" {
		s.layerMethods++
	}
}

// layer counts the fields of the root package's type Layer.
func (s *source) layer(t *ast.TypeSpec) {
	fields, ok := t.Type.(*ast.StructType)
	if !ok || s.test || s.folder != "." || t.Name.Name != "Layer" {
		return
	}
	for _, f := range fields.Fields.List {
		s.layerFields += max(1, len(f.Names)) // an embedded field has no name
	}
}

// receiver returns the name of the type whose method f is, or "".
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	t := f.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	switch g := t.(type) {
	case *ast.IndexExpr:
		t = g.X
	case *ast.IndexListExpr:
		t = g.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}
