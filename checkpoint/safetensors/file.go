package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// piece is how many bytes are moved before their checksum is computed, or after: they should still
// be in a cache.
const piece = 256 << 10

// File is a file of tensors, open for reading. Its methods may be called at the same time.
type File struct {
	table
	path     string // for errors
	in       io.ReaderAt
	close    func() error
	metadata map[string]string
}

// Open opens the file at path and reads its header. The error of a file that is not valid wraps
// [ErrInvalid]. Memory is a small multiple of the header, which is at most 100,000,000 bytes.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, errtext.Errorf("safetensors: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, errtext.Errorf("safetensors: %s: %w: not a regular file", path, ErrInvalid)
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, errtext.Errorf("safetensors: %w", err)
	}
	f, err := openFile(path, in)
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	f.close = in.Close
	return f, nil
}

func openFile(path string, in *os.File) (*File, error) {
	info, err := in.Stat()
	if err != nil {
		return nil, errtext.Errorf("safetensors: %w", err)
	}
	return open(path, in, info.Size())
}

// NewFile is [Open] for the size bytes of r, which its caller closes.
func NewFile(r io.ReaderAt, size int64) (*File, error) { return open("reader", r, size) }

func open(path string, in io.ReaderAt, size int64) (*File, error) {
	f := &File{path: path, in: in}
	text, err := f.header(size)
	if err != nil {
		return nil, err
	}
	data := 8 + int64(len(text))
	metadata, tensors, err := parseHeader(text, data, size-data)
	if err == nil {
		f.metadata = metadata
		f.table, err = newTable(tensors)
	}
	if err != nil {
		return nil, f.invalid("%w", err)
	}
	return f, nil
}

func (f *File) invalid(format string, args ...any) error {
	return errtext.Errorf("safetensors: %s: %w: %w", f.path, ErrInvalid, fmt.Errorf(format, args...))
}

// header reads the text of the header of a file of size bytes.
func (f *File) header(size int64) (string, error) {
	var length [8]byte
	if size < int64(len(length)) {
		return "", f.invalid("%d bytes, too few for the header's length", size)
	}
	if err := f.readAt(length[:], 0); err != nil {
		return "", err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return "", f.invalid("a header of %d bytes; the limit is %d", n, maxHeader)
	}
	if int64(n) > size-int64(len(length)) {
		return "", f.invalid("a header of %d bytes in a file of %d", n, size)
	}
	var text strings.Builder
	text.Grow(int(n))
	if _, err := io.CopyN(&text, io.NewSectionReader(f.in, int64(len(length)), int64(n)), int64(n)); err != nil {
		return "", f.failed("the header", err)
	}
	return text.String(), nil
}

// failed is the error of a read that gave less than it should.
func (f *File) failed(what string, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // the file has become shorter
	}
	return errtext.Errorf("safetensors: %s: reading %s: %w", f.path, what, err)
}

func (f *File) readAt(dst []byte, at int64) error {
	if n, err := f.in.ReadAt(dst, at); n < len(dst) {
		return f.failed(fmt.Sprintf("%d bytes at %d", len(dst), at), err)
	}
	return nil
}

// Close closes the file, if [Open] opened it. A second call does nothing.
func (f *File) Close() error {
	if f.close == nil {
		return nil
	}
	err := f.close()
	f.close = nil
	return err
}

// Metadata returns the strings that the file holds beside its tensors. It is nil if the file says
// nothing of them. The map belongs to f.
func (f *File) Metadata() map[string]string { return f.metadata }

// Tensors returns the tensors by place in the file. The slice, and the shapes in it, belong to f.
func (f *File) Tensors() []Tensor { return f.tensors }

// Lookup returns the tensor called name, and whether there is one. Its shape belongs to f.
func (f *File) Lookup(name string) (Tensor, bool) {
	i, ok := f.find(name)
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

func (f *File) tensor(name string) (Tensor, error) {
	t, ok := f.Lookup(name)
	if !ok {
		return t, fmt.Errorf("safetensors: %s: no tensor %s", f.path, shown(name))
	}
	return t, nil
}

// ReadInto reads the tensor called name into dst, which has as many bytes, and returns their
// CRC-32C.
func (f *File) ReadInto(name string, dst []byte) (crc uint32, err error) {
	t, err := f.tensor(name)
	if err != nil {
		return 0, err
	}
	if int64(len(dst)) != t.Bytes {
		return 0, fmt.Errorf("safetensors: %s: tensor %s has %d bytes; the destination has %d", f.path, shown(name), t.Bytes, len(dst))
	}
	for at := t.Offset; len(dst) > 0; {
		p := dst[:min(piece, len(dst))]
		if err := f.readAt(p, at); err != nil {
			return 0, err
		}
		crc, at, dst = crc32c.Update(crc, p), at+int64(len(p)), dst[len(p):]
	}
	return crc, nil
}

// ReadRange reads len(dst) bytes of the tensor called name, from its byte from on, into dst.
func (f *File) ReadRange(name string, dst []byte, from int64) error {
	t, err := f.tensor(name)
	if err != nil {
		return err
	}
	if from < 0 || int64(len(dst)) > t.Bytes-from {
		return fmt.Errorf("safetensors: %s: tensor %s has %d bytes, not %d from %d on", f.path, shown(name), t.Bytes, len(dst), from)
	}
	return f.readAt(dst, t.Offset+from)
}

// Checksum reads the tensor called name and returns the CRC-32C of its bytes.
func (f *File) Checksum(name string) (crc uint32, err error) {
	t, err := f.tensor(name)
	if err != nil {
		return 0, err
	}
	p := make([]byte, min(piece, t.Bytes))
	for from := int64(0); from < t.Bytes; from += int64(len(p)) {
		p = p[:min(int64(len(p)), t.Bytes-from)]
		if err := f.readAt(p, t.Offset+from); err != nil {
			return 0, err
		}
		crc = crc32c.Update(crc, p)
	}
	return crc, nil
}
