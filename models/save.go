package models

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Save writes the checkpoint to the new folder dir, with the tensors of blocks replaced: layers
// has, by the number of a block, what [switchyard.Layer.Parameters] returns. config.json, the index
// and the files of tensors are copied, and in them only the numbers that differ are changed, each
// rounded to the type that it has on disk: what was not trained keeps its bytes. Other files, as
// those of a tokenizer, are left to the caller. dir appears when it is complete, or not at all. One
// rank calls it.
func (m *Model) Save(dir string, layers map[int][]switchyard.Tensor) (err error) {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("models: Save: %s exists", dir)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".part-")
	if err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	if err := m.folder.copyTo(work); err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	for block, tensors := range layers {
		if block < 0 || block >= len(m.Blocks) {
			return fmt.Errorf("models: Save: block %d of %d", block, len(m.Blocks))
		}
		if err := m.patch(work, &m.Blocks[block], tensors); err != nil {
			return errtext.Errorf("models: Save: %w", err)
		}
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	if err := os.Rename(work, dir); err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	return nil
}

// copyTo copies the files of the checkpoint.
func (f *folder) copyTo(dir string) error {
	names := []string{"config.json"}
	for name := range f.files {
		names = append(names, name)
	}
	if f.indexed {
		names = append(names, indexFile)
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(f.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// patch changes the numbers of one block in the files of a folder.
func (m *Model) patch(dir string, b *Block, tensors []switchyard.Tensor) error {
	of := map[string][]float32{}
	for _, t := range tensors {
		for i, v := range t.Data {
			if v-v != 0 {
				return fmt.Errorf("layer %d: tensor %s: element %d is %v", b.Layer, t.Name, i, v)
			}
		}
		of[t.Name] = t.Data
	}
	used := map[string]int{}
	err := b.each(func(s slot) error {
		data, ok := of[s.param]
		if !ok {
			return nil
		}
		n := s.rows * s.cols
		if len(data) < (s.expert+1)*n {
			return fmt.Errorf("layer %d: tensor %s has %d numbers, too few for expert %d of %d × %d", b.Layer, s.param, len(data), s.expert, s.rows, s.cols)
		}
		used[s.param] += n
		return m.folder.write(dir, s.view, data[s.expert*n:(s.expert+1)*n])
	})
	if data, ok := of["balance.bias"]; ok && err == nil && b.Routing.Bias != "" && len(data) == b.Experts {
		used["balance.bias"] = len(data)
		bias := view{name: b.Prefix + b.Routing.Bias, rows: 1, cols: b.Experts, col: 1}
		err = m.folder.write(dir, bias, data)
	}
	for name, data := range of {
		if err == nil && used[name] != len(data) {
			err = fmt.Errorf("layer %d: tensor %s has %d numbers, the checkpoint a place for %d", b.Layer, name, len(data), used[name])
		}
	}
	return err
}

// write changes the numbers of a matrix in the file of a folder that is a copy of f, where they
// differ.
func (f *folder) write(dir string, v view, data []float32) (err error) {
	_, t, err := f.lookup(v.name)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, f.where[v.name]), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	from, to := v.span()
	size := width(t.DType)
	raw, at := make([]byte, (to-from)*size), t.Offset+int64(from)*int64(size)
	if _, err := file.ReadAt(raw, at); err != nil {
		return err
	}
	if !v.change(raw, data, t.DType) {
		return nil
	}
	if _, err := file.WriteAt(raw, at); err != nil {
		return err
	}
	return file.Sync()
}

// change writes the numbers that differ into the bytes of the matrix's span, and tells whether any
// did.
func (v view) change(raw []byte, data []float32, d safetensors.DType) bool {
	changed, size := false, width(d)
	var old [1]float32
	for r := range v.rows {
		for c := range v.cols {
			at := raw[(r*v.row+c*v.col)*size:]
			decode(old[:], at, d)
			if want := data[r*v.cols+c]; math.Float32bits(old[0]) != math.Float32bits(want) {
				encode(at, want, d)
				changed = true
			}
		}
	}
	return changed
}
