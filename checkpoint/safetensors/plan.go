package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Plan says which tensors a file will hold, and where. It writes nothing.
type Plan struct {
	table
	header []byte // with its length before it
	size   int64
}

// NewPlan plans a file of tensors and, unless it is nil, metadata. Of a tensor it uses name, type
// and shape. They are ordered as by the reference implementation: by type, then by name.
//
// An error says that a name is doubled, not UTF-8 or "__metadata__", that a type is unknown, a
// dimension negative, or the tensors or the header too large.
func NewPlan(metadata map[string]string, tensors []Tensor) (*Plan, error) {
	p := &Plan{}
	if err := p.plan(metadata, tensors); err != nil {
		return nil, errtext.Errorf("safetensors: %w", err)
	}
	return p, nil
}

func (p *Plan) plan(metadata map[string]string, tensors []Tensor) error {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType, a.DType), cmp.Compare(a.Name, b.Name))
	})
	bytes, err := placeAll(tensors)
	if err != nil {
		return err
	}
	if p.table, err = newTable(tensors); err != nil {
		return err
	}
	if p.header, err = formatHeader(metadata, tensors); err != nil {
		return err
	}
	for i := range tensors {
		tensors[i].Offset += int64(len(p.header))
	}
	p.size = int64(len(p.header)) + bytes
	return nil
}

// placeAll checks tensors, places them one after the other in the data, and returns their bytes.
func placeAll(tensors []Tensor) (bytes int64, err error) {
	const limit = math.MaxInt64 - 8 - maxHeader
	for i := range tensors {
		t := &tensors[i]
		if err := t.check(); err != nil {
			return 0, err
		}
		size, err := sizeOf(t.Name, t.DType, t.Shape)
		if err != nil {
			return 0, err
		}
		if size > uint64(limit-bytes) {
			return 0, fmt.Errorf("tensor %s of %d bytes after %d others; the limit is %d", shown(t.Name), size, bytes, int64(limit))
		}
		t.Shape = slices.Clone(t.Shape)
		t.Offset, t.Bytes = bytes, int64(size)
		bytes += t.Bytes
	}
	return bytes, nil
}

func (t *Tensor) check() error {
	switch {
	case t.Name == metadataKey:
		return fmt.Errorf("a tensor cannot be called %s", metadataKey)
	case !utf8.ValidString(t.Name):
		return fmt.Errorf("the name of tensor %s is not UTF-8", shown(t.Name))
	case !t.DType.known():
		return fmt.Errorf("tensor %s has the unknown type %v", shown(t.Name), t.DType)
	}
	return nil
}

// Tensors returns the tensors in the order in which they are to be written, with place and size.
// The slice, and the shapes in it, belong to p.
func (p *Plan) Tensors() []Tensor { return p.tensors }

// Size returns the bytes of the whole file.
func (p *Plan) Size() int64 { return p.size }

// formatHeader returns the length and the text of a header, padded so that data starts at a
// multiple of 8 bytes. Offsets of tensors are places in the data.
func formatHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	b := append(make([]byte, 8, 512), '{')
	if metadata != nil {
		b = append(appendString(b, metadataKey), ":{"...)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, fmt.Errorf("the metadata %s is not UTF-8", shown(key))
			}
			b = append(appendString(comma(b, i), key), ':')
			b = appendString(b, metadata[key])
		}
		b = append(b, '}')
	}
	for i, t := range tensors {
		if metadata != nil {
			i++
		}
		b = appendTensor(comma(b, i), t)
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	n := len(b) - 8
	if n > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes; the limit is %d", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(b, uint64(n))
	return b, nil
}
