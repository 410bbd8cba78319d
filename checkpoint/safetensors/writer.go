package safetensors

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Writer writes the file that a [Plan] describes, from its first byte to its last.
type Writer struct {
	table
	out     *bufio.Writer
	sums    []uint32 // of the tensors, by place
	current int      // the tensor that is being written
	written int64    // bytes of it
	err     error    // the first
}

// NewWriter writes the header of the file that p describes to out. What is written is buffered
// until [Writer.Close], which does not close out.
func NewWriter(out io.Writer, p *Plan) (*Writer, error) {
	w := &Writer{table: p.table, out: bufio.NewWriterSize(out, 64<<10), sums: make([]uint32, len(p.tensors))}
	if _, err := w.out.Write(p.header); err != nil {
		return nil, errtext.Errorf("safetensors: writing the header: %w", err)
	}
	w.skipEmpty()
	return w, nil
}

// Write writes data, the next bytes of the tensor called name: all of them, or as many as the
// caller has; further calls bring the rest. Tensors are written in the order of [Plan.Tensors].
// Those without bytes need no call. After an error all further calls return it.
func (w *Writer) Write(name string, data []byte) error {
	if w.err != nil {
		return w.err
	}
	if err := w.expect(name, int64(len(data))); err != nil {
		w.err = errtext.Errorf("safetensors: %w", err)
		return w.err
	}
	for len(data) > 0 {
		p := data[:min(piece, len(data))]
		w.sums[w.current] = crc32c.Update(w.sums[w.current], p)
		if _, err := w.out.Write(p); err != nil {
			w.err = errtext.Errorf("safetensors: writing tensor %s: %w", shown(name), err)
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
		return fmt.Errorf("no tensor %s is in the plan", shown(name))
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
		w.err = errtext.Errorf("safetensors: writing the last bytes: %w", err)
		return w.err
	}
	w.err = errtext.Errorf("safetensors: %w", errClosed)
	return nil
}

var errClosed = errors.New("the writer is closed")
