package safetensors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
)

// Index says which file of a folder holds which tensor, as model.safetensors.index.json does.
type Index struct {
	// TotalParameters is the number of elements of all tensors, and TotalSize the number of their
	// bytes. They are what the index says; 0 is not written.
	TotalParameters, TotalSize int64
	// Metadata are the other keys of the index's "metadata", with their JSON values.
	Metadata map[string]json.RawMessage
	// WeightMap gives the file of each tensor by the tensor's name. Files stand in the folder of
	// the index.
	WeightMap map[string]string
}

// ReadIndex reads the index at path, of at most 100,000,000 bytes. The error of an index that is
// not valid wraps [ErrInvalid].
func ReadIndex(path string) (*Index, error) {
	text, err := readText(path)
	if err != nil {
		return nil, errtext.Errorf("safetensors: %w", err)
	}
	x, err := parseIndex(text)
	if err != nil {
		return nil, errtext.Errorf("safetensors: %s: %w: %w", path, ErrInvalid, err)
	}
	return x, nil
}

// ParseIndex is [ReadIndex] for text in memory.
func ParseIndex(text []byte) (*Index, error) {
	x, err := parseIndex(string(text))
	if err != nil {
		return nil, errtext.Errorf("safetensors: index: %w: %w", ErrInvalid, err)
	}
	return x, nil
}

// readText returns the text of a regular file of at most maxHeader bytes.
func readText(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxHeader {
		return "", fmt.Errorf("%s: %w: not a regular file of at most %d bytes", path, ErrInvalid, maxHeader)
	}
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	var text strings.Builder
	text.Grow(int(info.Size()))
	_, err = io.Copy(&text, io.LimitReader(in, info.Size()))
	return text.String(), err
}

func parseIndex(text string) (*Index, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("not UTF-8")
	}
	x, s := &Index{}, &scanner{text: text}
	err := s.object(func(key string) error {
		var err error
		switch {
		case key == "metadata" && x.Metadata == nil:
			err = s.indexMetadata(x)
		case key == "weight_map" && x.WeightMap == nil:
			err = s.weightMap(x)
		case key == "metadata" || key == "weight_map":
			err = s.errorf("it stands there twice")
		default:
			err = s.skip()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", shown(key), err)
		}
		return nil
	})
	if err == nil {
		err = s.end()
	}
	switch {
	case err != nil:
		return nil, err
	case x.Metadata == nil:
		return nil, fmt.Errorf(`no "metadata"`)
	case len(x.WeightMap) == 0:
		return nil, fmt.Errorf(`no "weight_map", or an empty one`)
	}
	return x, nil
}

func (s *scanner) weightMap(x *Index) error {
	x.WeightMap = map[string]string{}
	return s.object(func(name string) error {
		file, err := s.str()
		if err == nil {
			err = checkFile(file)
		}
		if err != nil {
			return fmt.Errorf("file of tensor %s: %w", shown(name), err)
		}
		if _, ok := x.WeightMap[name]; ok {
			return s.errorf("tensor %s stands there twice", shown(name))
		}
		x.WeightMap[name] = file
		return nil
	})
}

// checkFile fails unless name is a plain name, so that no index leads out of its folder.
func checkFile(name string) error {
	if strings.ContainsAny(name, "/\\:\x00") || name == "." || !filepath.IsLocal(name) {
		return fmt.Errorf("%s is not a plain name of a file", shown(name))
	}
	return nil
}

func (s *scanner) indexMetadata(x *Index) error {
	x.Metadata = map[string]json.RawMessage{}
	err := s.object(func(key string) error {
		if _, ok := x.Metadata[key]; ok {
			return s.errorf("%s stands there twice", shown(key))
		}
		s.next()
		begin := s.pos
		if err := s.skip(); err != nil {
			return fmt.Errorf("%s: %w", shown(key), err)
		}
		x.Metadata[key] = json.RawMessage(s.text[begin:s.pos])
		return nil
	})
	if err != nil {
		return err
	}
	for key, total := range x.totals() {
		if *total, err = count(x.Metadata[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		delete(x.Metadata, key)
	}
	return nil
}

func (x *Index) totals() map[string]*int64 {
	return map[string]*int64{"total_parameters": &x.TotalParameters, "total_size": &x.TotalSize}
}

// count returns the whole number of a JSON value, which may be written 1e9 or 2.0 too; nothing is
// 0.
func count(value json.RawMessage) (int64, error) {
	if len(value) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		var f float64
		if f, err = strconv.ParseFloat(string(value), 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<63 {
			n = int64(f)
		} else {
			n = -1
		}
	}
	if n < 0 {
		return 0, fmt.Errorf("%s is not a whole number from 0 to 2^63 - 1", printable.Text(string(value), 40))
	}
	return n, nil
}

// Files returns the names of all files, sorted, each once.
func (x *Index) Files() []string {
	return slices.Compact(slices.Sorted(maps.Values(x.WeightMap)))
}

// JSON returns the text of the index, keys sorted, as Hugging Face tools lay it out. It fails if
// ReadIndex would refuse the text: because WeightMap is empty, a name is not UTF-8, a file's name
// not plain, or the text longer than 100,000,000 bytes.
func (x *Index) JSON() ([]byte, error) {
	metadata := map[string]any{}
	for key, value := range x.Metadata {
		metadata[key] = value
	}
	for key, total := range x.totals() {
		if _, ok := metadata[key]; ok {
			return nil, fmt.Errorf("safetensors: index: %s stands in Metadata", key)
		}
		if *total != 0 {
			metadata[key] = *total
		}
	}
	if name, ok := x.notUTF8(); ok {
		return nil, fmt.Errorf("safetensors: index: %s is not UTF-8", shown(name))
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"metadata": metadata, "weight_map": x.WeightMap}); err != nil {
		return nil, errtext.Errorf("safetensors: index: %w", err)
	}
	if text.Len() > maxHeader {
		return nil, fmt.Errorf("safetensors: index: %d bytes for %d tensors; the limit is %d", text.Len(), len(x.WeightMap), maxHeader)
	}
	if _, err := ParseIndex(text.Bytes()); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// notUTF8 returns one of the strings of x that is not UTF-8, if there is one: encoding/json would
// write another.
func (x *Index) notUTF8() (string, bool) {
	for name, file := range x.WeightMap {
		for _, text := range []string{name, file} {
			if !utf8.ValidString(text) {
				return text, true
			}
		}
	}
	for key := range x.Metadata {
		if !utf8.ValidString(key) {
			return key, true
		}
	}
	return "", false
}
