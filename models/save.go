package models

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/quant"
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
	if err := m.write(work, layers); err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	if err := os.Rename(work, dir); err != nil {
		return errtext.Errorf("models: Save: %w", err)
	}
	return nil
}

// write writes the files of the checkpoint to folder dir, with the tensors of layers.
func (m *Model) write(dir string, layers map[int][]switchyard.Tensor) (err error) {
	files, err := m.folder.copyTo(dir)
	defer func() {
		for _, file := range files {
			err = errors.Join(err, file.Sync(), file.Close())
		}
	}()
	if err != nil {
		return err
	}
	for block, tensors := range layers {
		if err := m.checkBlock(block); err != nil {
			return err
		}
		if err := m.patch(files, &m.Blocks[block], tensors); err != nil {
			return err
		}
	}
	return nil
}

// copyTo copies the files of the checkpoint, and returns the copies, open, by their names.
func (f *folder) copyTo(dir string) (copies map[string]*os.File, err error) {
	names := append(slices.Collect(maps.Keys(f.files)), configFile)
	if f.indexed {
		names = append(names, indexFile)
	}
	copies = map[string]*os.File{}
	for _, name := range names {
		if copies[name], err = os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
			delete(copies, name)
			return copies, err
		}
		if err := copyFile(copies[name], filepath.Join(f.dir, name)); err != nil {
			return copies, err
		}
	}
	return copies, nil
}

func copyFile(to *os.File, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	_, err = io.Copy(to, in)
	return err
}

// patch changes the numbers of one block in copies of the files.
func (m *Model) patch(files map[string]*os.File, b *Block, tensors []switchyard.Tensor) error {
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
		return m.folder.write(files, s.view, data[s.expert*n:(s.expert+1)*n])
	})
	if data, ok := of["balance.bias"]; ok && err == nil && b.Routing.Bias != "" && len(data) == b.Experts {
		used["balance.bias"] = len(data)
		bias := view{name: b.Prefix + b.Routing.Bias, rows: 1, cols: b.Experts, col: 1}
		err = m.folder.write(files, bias, data)
	}
	for name, data := range of {
		if err == nil && used[name] != len(data) {
			err = fmt.Errorf("layer %d: tensor %s has %d numbers, the checkpoint a place for %d", b.Layer, name, len(data), used[name])
		}
	}
	return err
}

// write changes the numbers of a matrix in the copy of its file, where they differ.
func (f *folder) write(files map[string]*os.File, v view, data []float32) error {
	_, t, err := f.lookup(v.name)
	if err != nil {
		return err
	}
	format, _ := formatOf(t.DType)
	from, to := v.span()
	raw, at := make([]byte, format.Bytes(to-from)), t.Offset+int64(from)*int64(format.Bytes(1))
	file := files[f.where[v.name]]
	if _, err := file.ReadAt(raw, at); err != nil {
		return err
	}
	if !v.change(raw, data, format) {
		return nil
	}
	_, err = file.WriteAt(raw, at)
	return err
}

// change writes the numbers that differ into the bytes of the matrix's span, and tells whether any
// did.
func (v view) change(raw []byte, data []float32, format quant.Format) bool {
	changed, size := false, format.Bytes(1)
	var old [1]float32
	for r := range v.rows {
		for c := range v.cols {
			at := raw[(r*v.row+c*v.col)*size:]
			format.Decode(old[:], at)
			if i := r*v.cols + c; math.Float32bits(old[0]) != math.Float32bits(data[i]) {
				format.Encode(at[:size], data[i:i+1])
				changed = true
			}
		}
	}
	return changed
}
