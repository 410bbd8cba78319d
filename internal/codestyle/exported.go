package main

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

func isInternal(folder string) bool {
	return slices.Contains(strings.Split(folder, "/"), "internal")
}

// exported finds the exported names of a public package whose declarations name a type of an
// internal package: in a signature, an exported or embedded field, an alias or a variable's type.
// It reads one file at a time, so types that a variable infers or embedding promotes stay hidden.
func (s *source) exported() {
	inside := s.internalImports()
	for _, d := range s.parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
				s.leads(d.Name, d.Type, inside)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s.exportedSpec(spec, inside)
			}
		}
	}
}

// internalImports returns the names by which the file knows internal packages.
func (s *source) internalImports() map[string]bool {
	inside := map[string]bool{}
	for _, spec := range s.parsed.Imports {
		name, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		if !isInternal(name) {
			continue
		}
		if spec.Name != nil {
			inside[spec.Name.Name] = true
		} else {
			inside[path.Base(name)] = true
		}
	}
	return inside
}

func (s *source) exportedSpec(spec ast.Spec, inside map[string]bool) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			s.exportedType(spec, inside)
		}
	case *ast.ValueSpec:
		if spec.Type != nil && slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
			s.leads(spec.Names[0], spec.Type, inside)
		}
	}
}

func (s *source) exportedType(t *ast.TypeSpec, inside map[string]bool) {
	fields, ok := t.Type.(*ast.StructType)
	if !ok {
		s.leads(t.Name, t.Type, inside)
		return
	}
	for _, f := range fields.Fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			s.leads(t.Name, f.Type, inside)
		}
	}
}

// leads notes each type of an internal package in the declaration of a name.
func (s *source) leads(name *ast.Ident, declaration ast.Node, inside map[string]bool) {
	ast.Inspect(declaration, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if from, ok := selector.X.(*ast.Ident); ok && inside[from.Name] {
			what := name.Name + " leads to " + from.Name + "." + selector.Sel.Name
			s.internal = append(s.internal, place{s.name, s.line(selector), what})
		}
		return true
	})
}
