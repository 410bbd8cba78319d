package switchyard

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExportedNamesLeadToNoInternalType checks every exported name of every public package: what
// its signature, exported fields, embedded types and method set name must be importable by a user.
func TestExportedNamesLeadToNoInternalType(t *testing.T) {
	if raced {
		t.Skip("it has one goroutine, and takes long with the race detector")
	}
	c := newTypeChecker()
	packages := 0
	for _, folder := range publicFolders(t) {
		p, err := c.Import(path.Join(module, folder))
		require.NoError(t, err, folder)
		if p.Name() == "main" {
			continue
		}
		packages++
		require.Empty(t, leaksOf(p), "exported names of %s that lead to types of internal packages", folder)
	}
	require.Greater(t, packages, 20, "the walk found hardly any package")
}

// publicFolders lists the folders with code of packages that a user may import.
func publicFolders(t *testing.T) []string {
	var folders []string
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); file != "." && (name[0] == '.' || name == "internal" || name == "testdata") {
			return filepath.SkipDir
		}
		if p, err := build.ImportDir(file, 0); err == nil && len(p.GoFiles) > 0 {
			folders = append(folders, filepath.ToSlash(file))
		}
		return nil
	})
	require.NoError(t, err)
	return folders
}

// typeChecker is an importer that reads the declarations of this module's packages, without the
// bodies of functions, and of the standard library. Other modules cannot lead to a type of this
// one: their packages are empty here, and the errors that this causes are left out.
type typeChecker struct {
	fset     *token.FileSet
	standard types.Importer
	done     map[string]*types.Package
}

func newTypeChecker() *typeChecker {
	fset := token.NewFileSet()
	return &typeChecker{fset: fset, standard: importer.ForCompiler(fset, "source", nil), done: map[string]*types.Package{}}
}

func (c *typeChecker) Import(name string) (p *types.Package, err error) {
	if p := c.done[name]; p != nil {
		return p, nil
	}
	folder, ours := strings.CutPrefix(name, module)
	switch {
	case ours:
		p, err = c.check(name, "."+folder)
	case strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
		p = types.NewPackage(name, path.Base(name))
		p.MarkComplete()
	default:
		p, err = c.standard.Import(name)
	}
	c.done[name] = p
	return p, err
}

func (c *typeChecker) check(name, folder string) (*types.Package, error) {
	p, err := build.ImportDir(folder, 0)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, f := range p.GoFiles {
		parsed, err := parser.ParseFile(c.fset, filepath.Join(folder, f), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, parsed)
	}
	return c.checkFiles(name, files), nil
}

func (c *typeChecker) checkFiles(name string, files []*ast.File) *types.Package {
	conf := types.Config{Importer: c, IgnoreFuncBodies: true, Error: func(error) {}}
	p, _ := conf.Check(name, c.fset, files, nil)
	return p
}

// leaksOf lists the exported names of p that lead to a type of an internal package of this module,
// and which.
func leaksOf(p *types.Package) []string {
	var found []string
	for _, name := range p.Scope().Names() {
		if o := p.Scope().Lookup(name); o.Exported() {
			l := leak{seen: map[types.Type]bool{}, found: map[string]bool{}}
			l.object(o)
			for internal := range l.found {
				found = append(found, fmt.Sprintf("%s leads to %s", name, internal))
			}
		}
	}
	sort.Strings(found)
	return found
}

// leak follows what one exported name leads to.
type leak struct {
	seen  map[types.Type]bool
	found map[string]bool
}

func (l *leak) object(o types.Object) {
	if t, ok := o.(*types.TypeName); ok && !t.IsAlias() {
		l.define(t.Type())
		return
	}
	l.follow(o.Type())
}

// follow looks at a type where it is named. One of another public package is that package's to
// check, but one that is not exported can be reached only from here.
func (l *leak) follow(t types.Type) {
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		l.named(t)
	case *types.TypeParam:
		l.follow(t.Constraint())
	case *types.Struct:
		l.fields(t)
	case *types.Interface:
		l.methods(t)
	case *types.Signature:
		l.tuple(t.Params())
		l.tuple(t.Results())
		for p := range t.TypeParams().TypeParams() {
			l.follow(p.Constraint())
		}
	case *types.Tuple:
		l.tuple(t)
	case *types.Union:
		for term := range t.Terms() {
			l.follow(term.Type())
		}
	case *types.Map:
		l.follow(t.Key())
		l.follow(t.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays and channels
		l.follow(t.Elem())
	}
}

func (l *leak) named(t *types.Named) {
	for arg := range t.TypeArgs().Types() {
		l.follow(arg)
	}
	o := t.Obj()
	switch {
	case o.Pkg() == nil || !strings.HasPrefix(o.Pkg().Path(), module):
	case slices.Contains(strings.Split(o.Pkg().Path(), "/"), "internal"):
		l.found[strings.TrimPrefix(o.Pkg().Path(), module+"/")+"."+o.Name()] = true
	case !o.Exported():
		l.define(t)
	}
}

// define looks at what a defined type consists of: its underlying type and its methods, those that
// embedding promotes included.
func (l *leak) define(t types.Type) {
	if l.seen[t] {
		return
	}
	l.seen[t] = true
	if n, ok := t.(*types.Named); ok {
		for p := range n.TypeParams().TypeParams() {
			l.follow(p.Constraint())
		}
	}
	l.follow(t.Underlying())
	if types.IsInterface(t) {
		return
	}
	for m := range types.NewMethodSet(types.NewPointer(t)).Methods() {
		if m.Obj().Exported() {
			l.follow(m.Type())
		}
	}
}

func (l *leak) fields(t *types.Struct) {
	for f := range t.Fields() {
		if f.Exported() || f.Embedded() {
			l.follow(f.Type())
		}
	}
}

func (l *leak) methods(t *types.Interface) {
	for m := range t.Methods() {
		if m.Exported() {
			l.follow(m.Type())
		}
	}
	for e := range t.EmbeddedTypes() {
		l.follow(e)
	}
}

func (l *leak) tuple(t *types.Tuple) {
	for v := range t.Variables() {
		l.follow(v.Type())
	}
}

func TestLeaksAreFound(t *testing.T) {
	c := newTypeChecker()
	add := func(name, source string) *types.Package {
		file, err := parser.ParseFile(c.fset, name, "package "+path.Base(name)+"\n"+source, parser.SkipObjectResolution)
		require.NoError(t, err)
		c.done[path.Join(module, name)] = c.checkFiles(path.Join(module, name), []*ast.File{file})
		return c.done[path.Join(module, name)]
	}
	add("internal/hidden", "type T struct{}; func (T) Own() {}; func (T) More(T) {}; type Free = int; func Make() T { return T{} }")
	add("open", "type Fine struct{}")
	header := "import (\n\"" + module + "/internal/hidden\"\n\"" + module + "/open\"\n\"example.org/other\"\n)\n"
	for source, leaks := range map[string]bool{
		"func F(hidden.Free, open.Fine, other.T) {}":                                  false,
		"func F() map[string][]*hidden.T { return nil }":                              true,
		"func F(func(<-chan hidden.T)) {}":                                            true,
		"func F[E hidden.T | int](E) {}":                                              true,
		"func f(hidden.T) {}":                                                         false,
		"var X = hidden.Make()":                                                       true,
		"var x = hidden.Make()":                                                       false,
		"type X = hidden.T":                                                           true,
		"type X struct{ a, b hidden.T }":                                              false,
		"type X struct{ A hidden.T }":                                                 true,
		"type X struct{ hidden.T }":                                                   true,
		"type X struct{ *engine }; type engine = hidden.T":                            true,
		"type X struct{ engine }; type engine struct{ hidden.T }":                     true,
		"type X struct{ engine }; type engine struct{ t hidden.T }":                   false,
		"type X struct{ engine }; type engine struct{}; func (engine) M(hidden.T) {}": true,
		"type X struct{ open.Fine }; func (*X) M() (_ hidden.T) { return }":           true,
		"type X int; func (X) m(hidden.T) {}":                                         false,
		"type X interface{ M(hidden.T) }":                                             true,
		"type X interface{ y }; type y interface{ M(hidden.T) }":                      true,
		"type X[E any] []E; type Y = X[hidden.T]":                                     true,
		"func F() *y { return nil }; type y struct{ T hidden.T; next *y }":            true,
		"func F() *y { return nil }; type y struct{ t hidden.T; Next *y }":            false,
	} {
		p := add("a", header+source)
		require.Equal(t, leaks, len(leaksOf(p)) > 0, source)
	}
}
