package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// shippedText is the place of a text of half a megabyte in Go's source tree.
const shippedText = "src/testdata/Isaac.Newton-Opticks.txt"

// sharedText is a text that the ranks of a process share.
type sharedText struct {
	once   sync.Once
	text   []byte
	source string
	err    error
}

// load is loadText, which the first rank calls for all.
func (s *sharedText) load(ctx context.Context, path string, seed uint64) ([]byte, string, error) {
	s.once.Do(func() { s.text, s.source, s.err = loadText(ctx, path, seed) })
	return s.text, s.source, s.err
}

// loadText returns the text to learn and where it is from: the file path if one is given,
// or the .go files of a folder, else the
// text that Go's source tree ships, else a generated one.
func loadText(ctx context.Context, path string, seed uint64) (text []byte, source string, err error) {
	if path != "" {
		text, err = readText(path)
		return text, path, err
	}
	for _, root := range goRoots(ctx) {
		path := filepath.Join(root, filepath.FromSlash(shippedText))
		text, err = os.ReadFile(path)
		if err == nil {
			return text, path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	return generate(seed, generatedBytes), "a generated text, as there is no Go source tree here (-text FILE names another)", nil
}

// readText returns a file, or all .go files of a folder in the order of their paths.
func readText(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return os.ReadFile(path)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var text []byte
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !strings.HasSuffix(name, ".go") {
			return err
		}
		more, err := root.ReadFile(filepath.FromSlash(name))
		text = append(text, more...)
		return err
	})
	if err == nil && len(text) == 0 {
		err = fmt.Errorf("%s: no .go file has text", path)
	}
	return text, err
}

// goRoots lists where Go may be installed, by the environment and by the go command.
func goRoots(ctx context.Context) []string {
	var roots []string
	if root := os.Getenv("GOROOT"); root != "" {
		roots = append(roots, root)
	}
	if out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output(); err == nil {
		if root := strings.TrimSpace(string(out)); root != "" {
			roots = append(roots, root)
		}
	}
	return roots
}

// heldOutShare is the inverse of the share of the text, at its end, that is held out.
const heldOutShare = 10

// split cuts a text into what is learned and what is held out. Either must give one batch at least.
func split(text []byte, o options) (train, held []byte, err error) {
	cut := len(text) - len(text)/heldOutShare
	train, held = text[:cut], text[cut:]
	if need := o.batch*o.seq + 1; len(held) < need {
		return nil, nil, fmt.Errorf("the text has %d bytes: with -batch %d -seq %d it must have %d, so that the tenth held out makes a batch",
			len(text), o.batch, o.seq, need*heldOutShare)
	}
	return train, held, nil
}
