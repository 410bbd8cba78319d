package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/crc32c"
)

// singleFile is the file of a model that has no index.
const singleFile = "model.safetensors"

// source is a checkpoint to read from.
type source struct {
	path    string            // its folder
	files   map[string]string // of each tensor
	sums    map[string]checksum
	places  map[string]string // of files, if the folders of the ranks were not one
	program map[string]string
	format  int // 0 for files of other programs, which have no checksums
	step    int
	ranks   int
	digest  uint32 // of the indexes
}

// openSource reads the indexes in a folder, or makes one of the header of a single file.
func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return openSingle(filepath.Dir(path), filepath.Base(path))
	}
	s := &source{path: path, files: map[string]string{}, sums: map[string]checksum{}, places: map[string]string{}}
	for _, name := range indexNames {
		err := s.addIndex(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == modelIndex:
			return openSingle(path, singleFile)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		}
	}
	return s, nil
}

// openSingle makes the index of a single file.
func openSingle(folder, name string) (*source, error) {
	f, err := safetensors.Open(filepath.Join(folder, name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	s := &source{path: folder, files: map[string]string{}}
	for _, t := range f.Tensors() {
		s.files[t.Name] = name
		s.digest = crc32c.Update(s.digest, fmt.Append(nil, t))
	}
	return s, nil
}

// addIndex takes over an index of the folder.
func (s *source) addIndex(name string) error {
	x, err := safetensors.ReadIndex(filepath.Join(s.path, name))
	if err != nil {
		return err
	}
	m, err := parseMetadata(x.Metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(s.path, name), err)
	}
	if name == modelIndex {
		s.format, s.step, s.ranks, s.program = m.Format, m.Step, m.Ranks, m.Program
	} else if m.Format != s.format || m.Step != s.step || m.Ranks != s.ranks {
		return fmt.Errorf("%s is of step %d of %d ranks, %s of step %d of %d ranks: they are not of one checkpoint",
			filepath.Join(s.path, name), m.Step, m.Ranks, modelIndex, s.step, s.ranks)
	}
	for tensor, file := range x.WeightMap {
		if _, twice := s.files[tensor]; twice {
			return fmt.Errorf("%s: tensor %.200q stands in %s too", filepath.Join(s.path, name), tensor, modelIndex)
		}
		if _, ok := m.Sums[tensor]; !ok && m.Format > 0 {
			return fmt.Errorf("%s: tensor %.200q has no checksum", filepath.Join(s.path, name), tensor)
		}
		s.files[tensor] = file
	}
	maps.Copy(s.sums, m.Sums)
	maps.Copy(s.places, m.Places)
	text, err := json.Marshal(x)
	s.digest = crc32c.Update(s.digest, text)
	return err
}

// names are those of all tensors, sorted.
func (s *source) names() []string { return slices.Sorted(maps.Keys(s.files)) }

// open opens one of the files. If it is not there the error says where it was written.
func (s *source) open(name string) (*safetensors.File, error) {
	path := filepath.Join(s.path, name)
	f, err := safetensors.Open(path)
	if errors.Is(err, fs.ErrNotExist) && s.places[name] != "" {
		return nil, fmt.Errorf("%w: it was written at %s", err, s.places[name])
	}
	if err != nil {
		return nil, err
	}
	if err := s.checkFile(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkFile compares what the header of a file says with the index.
func (s *source) checkFile(f *safetensors.File, path string) error {
	if s.format == 0 {
		return nil
	}
	want := fileMetadata(s.step)
	for _, key := range []string{formatKey, stepKey} {
		if got := f.Metadata()[key]; got != want[key] {
			return fmt.Errorf("%s has %s=%.20q, and the index %s: they are not of one checkpoint", path, key, got, want[key])
		}
	}
	return nil
}

// checkSum compares the checksum of a tensor's bytes with the index.
func (s *source) checkSum(tensor string, sum uint32) error {
	if want, ok := s.sums[tensor]; ok && checksum(sum) != want {
		return fmt.Errorf("tensor %.200q of %s: %w: CRC-32C %08x, the index has %08x",
			tensor, filepath.Join(s.path, s.files[tensor]), ErrDamaged, sum, uint32(want))
	}
	return nil
}
