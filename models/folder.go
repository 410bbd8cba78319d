package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/quant"
)

// The names of a checkpoint's files.
const (
	configFile = "config.json"
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

// folder is the tensors of a checkpoint, in one file or in several.
type folder struct {
	dir   string
	files map[string]*safetensors.File // by name
	where map[string]string            // the file of each tensor

	indexed bool // it has an index
}

// openFolder opens all files of a checkpoint.
func openFolder(dir string) (_ *folder, err error) {
	f := &folder{dir: dir, files: map[string]*safetensors.File{}, where: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if _, err := os.Stat(filepath.Join(dir, singleFile)); !errors.Is(err, fs.ErrNotExist) {
		return f, f.open(singleFile)
	}
	index, err := safetensors.ReadIndex(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("models: %s holds neither %s nor %s", dir, singleFile, indexFile)
	}
	if err != nil {
		return f, errtext.Errorf("models: %w", err)
	}
	f.indexed = true
	for _, name := range index.Files() {
		if err := f.open(name); err != nil {
			return f, err
		}
	}
	return f, f.matches(index)
}

// open opens one file and notes its tensors.
func (f *folder) open(name string) error {
	file, err := safetensors.Open(filepath.Join(f.dir, name))
	if err != nil {
		return errtext.Errorf("models: %w", err)
	}
	f.files[name] = file
	for _, t := range file.Tensors() {
		if other, ok := f.where[t.Name]; ok {
			return fmt.Errorf("models: %s: tensor %q is in %s and in %s", f.dir, t.Name, other, name)
		}
		f.where[t.Name] = name
	}
	return nil
}

// matches returns an error if a tensor is not where the index says.
func (f *folder) matches(index *safetensors.Index) error {
	var faults []error
	for name, file := range index.WeightMap {
		if f.where[name] != file {
			faults = append(faults, fmt.Errorf("models: %s: tensor %q is not in %s, where %s has it", f.dir, name, file, indexFile))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults[:min(len(faults), 5)]...)
}

func (f *folder) close() error {
	var faults []error
	for _, file := range f.files {
		faults = append(faults, file.Close())
	}
	return errors.Join(faults...)
}

// holds tells whether there is a tensor whose name ends so.
func (f *folder) holds(end string) bool {
	for name := range f.where {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// lookup returns a tensor and its file.
func (f *folder) lookup(name string) (*safetensors.File, safetensors.Tensor, error) {
	file, ok := f.files[f.where[name]]
	if !ok {
		return nil, safetensors.Tensor{}, fmt.Errorf("models: %s: no tensor %q", f.dir, name)
	}
	t, _ := file.Lookup(name)
	return file, t, nil
}

// check returns an error unless a tensor is there, of a shape and of a type that is read.
func (f *folder) check(name string, shape []int) error {
	_, t, err := f.lookup(name)
	if err != nil {
		return err
	}
	if !slices.Equal(t.Shape, shape) {
		return fmt.Errorf("models: %s: tensor %q is %v, want %v by config.json", f.path(name), name, t.Shape, shape)
	}
	if _, ok := formatOf(t.DType); !ok {
		return errtext.Errorf("models: %s: tensor %q: %w: numbers of type %v", f.path(name), name, ErrUnsupported, t.DType)
	}
	return nil
}

// path is the file of a tensor.
func (f *folder) path(name string) string { return filepath.Join(f.dir, f.where[name]) }

// read returns elements [from, to) of a tensor.
func (f *folder) read(name string, from, to int) ([]float32, error) {
	file, t, err := f.lookup(name)
	if err != nil {
		return nil, err
	}
	format, _ := formatOf(t.DType)
	raw := make([]byte, format.Bytes(to-from))
	if err := file.ReadRange(name, raw, int64(from)*int64(format.Bytes(1))); err != nil {
		return nil, errtext.Errorf("models: %s: tensor %q: %w", f.path(name), name, err)
	}
	dst := make([]float32, to-from)
	format.Decode(dst, raw)
	return dst, nil
}

// formatOf returns the format of numbers of type d, and whether they are read.
func formatOf(d safetensors.DType) (quant.Format, bool) {
	switch d {
	case safetensors.F32:
		return quant.Float32, true
	case safetensors.BF16:
		return quant.BF16, true
	}
	return 0, false
}
