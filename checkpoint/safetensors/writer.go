package safetensors

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
)

// Writer writes a file of tensors, from its first byte to its last.
type Writer struct {
	table
	out     *bufio.Writer
	sums    []uint32 // of the tensors, by place
	current int      // the tensor that is being written
	written int64    // bytes of it
	err     error    // the first
}

// NewWriter writes the header of a file that will hold tensors and, unless it is nil, metadata. Of
// a tensor it uses name, type and shape; [Writer.Tensors] says in which order their bytes follow.
// They are ordered as by the reference implementation: by type, then by name.
//
// An error says that a name is doubled, not UTF-8 or "__metadata__", that a type is unknown, a
// dimension negative, a tensor or the header too large, or that writing to out failed. What is
// written is buffered until [Writer.Close], which does not close out.
func NewWriter(out io.Writer, metadata map[string]string, tensors []Tensor) (*Writer, error) {
	w := &Writer{out: bufio.NewWriterSize(out, 64<<10)}
	header, err := w.plan(metadata, tensors)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if _, err := w.out.Write(header); err != nil {
		return nil, fmt.Errorf("safetensors: writing the header: %w", err)
	}
	w.skipEmpty()
	return w, nil
}

// plan orders the tensors, gives each its place, and returns the length and the text of the header.
func (w *Writer) plan(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType, a.DType), cmp.Compare(a.Name, b.Name))
	})
	at := int64(0)
	for i := range tensors {
		t := &tensors[i]
		if err := t.check(); err != nil {
			return nil, err
		}
		size, err := sizeOf(t.Name, t.DType, t.Shape)
		if err != nil {
			return nil, err
		}
		if size > uint64(math.MaxInt64-lengthAndHeader-at) {
			return nil, fmt.Errorf("tensor %s of %d bytes after %d others: more than a file can have", shown(t.Name), size, at)
		}
		t.Shape = slices.Clone(t.Shape)
		t.Offset, t.Bytes = at, int64(size)
		at += t.Bytes
	}
	var err error
	if w.table, err = newTable(tensors); err != nil {
		return nil, err
	}
	w.sums = make([]uint32, len(tensors))
	header, err := formatHeader(metadata, tensors)
	for i := range tensors {
		tensors[i].Offset += int64(len(header))
	}
	return header, err
}

const lengthAndHeader = 8 + maxHeader

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
// The slice, and the shapes in it, belong to w.
func (w *Writer) Tensors() []Tensor { return w.tensors }

// Write writes data, the next bytes of the tensor called name: all of them, or as many as the
// caller has; further calls bring the rest. Tensors are written in the order of [Writer.Tensors].
// Those without bytes need no call. After an error all further calls return it.
func (w *Writer) Write(name string, data []byte) error {
	if w.err != nil {
		return w.err
	}
	if err := w.expect(name, int64(len(data))); err != nil {
		w.err = fmt.Errorf("safetensors: %w", err)
		return w.err
	}
	for len(data) > 0 {
		p := data[:min(piece, len(data))]
		w.sums[w.current] = crc32c.Update(w.sums[w.current], p)
		if _, err := w.out.Write(p); err != nil {
			w.err = fmt.Errorf("safetensors: writing tensor %s: %w", shown(name), err)
			return w.err
		}
		w.written, data = w.written+int64(len(p)), data[len(p):]
	}
	w.skipEmpty()
	return nil
}

// expect checks that size bytes of the tensor called name may follow.
func (w *Writer) expect(name string, size int64) error {
	i, ok := w.find(name)
	switch {
	case !ok:
		return fmt.Errorf("no tensor %s was announced", shown(name))
	case size == 0:
		return nil
	case w.current == len(w.tensors):
		return fmt.Errorf("%d bytes of tensor %s after the last tensor's", size, shown(name))
	case i != w.current:
		return fmt.Errorf("%d bytes of tensor %s, where %s is to be written", size, shown(name), shown(w.tensors[w.current].Name))
	}
	if t := w.tensors[i]; size > t.Bytes-w.written {
		return fmt.Errorf("%d bytes of tensor %s after %d others; it has %d", size, shown(name), w.written, t.Bytes)
	}
	return nil
}

// skipEmpty goes on to the next tensor of which bytes are to be written.
func (w *Writer) skipEmpty() {
	for w.current < len(w.tensors) && w.written == w.tensors[w.current].Bytes {
		w.current, w.written = w.current+1, 0
	}
}

// Checksum returns the CRC-32C of the bytes of the tensor called name that are written, and whether
// there is such a tensor.
func (w *Writer) Checksum(name string) (crc uint32, ok bool) {
	i, ok := w.find(name)
	if !ok {
		return 0, false
	}
	return w.sums[i], true
}

// Close writes what is buffered. It fails if a tensor is not written whole. A second call does
// nothing.
func (w *Writer) Close() error {
	if w.err != nil {
		if errors.Is(w.err, errClosed) {
			return nil
		}
		return w.err
	}
	if w.current < len(w.tensors) {
		t := w.tensors[w.current]
		w.err = fmt.Errorf("safetensors: %d of %d bytes of tensor %s are written", w.written, t.Bytes, shown(t.Name))
		return w.err
	}
	if err := w.out.Flush(); err != nil {
		w.err = fmt.Errorf("safetensors: writing the last bytes: %w", err)
		return w.err
	}
	w.err = fmt.Errorf("safetensors: %w", errClosed)
	return nil
}

var errClosed = errors.New("the writer is closed")

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
	putLength(b, n)
	return b, nil
}
