package safetensors

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// maxHeader is the most bytes that a header may have: the reference implementation's limit.
const maxHeader = 100_000_000

// metadataKey is the key of what is not a tensor in a header.
const metadataKey = "__metadata__"

// parseHeader returns the metadata and the tensors of a header whose data, bytes long, starts at
// the byte data of its file. Tensors are sorted by place, then by name.
func parseHeader(text string, data, bytes int64) (map[string]string, []Tensor, error) {
	if !utf8.ValidString(text) {
		return nil, nil, fmt.Errorf("the header is not UTF-8")
	}
	s := &scanner{text: text}
	metadata, tensors, err := s.header()
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the header: %w", err)
	}
	tensors = lastOfEachName(tensors)
	return metadata, tensors, place(tensors, data, bytes)
}

// header reads a header. Until place has checked them, Offset and Bytes of the tensors hold the
// bits of the first and the last offset in the data, which are any numbers of 64 bits.
func (s *scanner) header() (metadata map[string]string, tensors []Tensor, err error) {
	seen := false
	var dims []int // memory to read shapes into
	err = s.object(func(key string) error {
		if key != metadataKey {
			t := Tensor{Name: key}
			if err := s.tensor(&t, &dims); err != nil {
				return fmt.Errorf("tensor %s: %w", shown(key), err)
			}
			tensors = append(tensors, t)
			return nil
		}
		if seen {
			return s.errorf("%s stands there twice", metadataKey)
		}
		seen = true
		if metadata, err = s.metadata(); err != nil {
			return fmt.Errorf("%s: %w", metadataKey, err)
		}
		return nil
	})
	return metadata, tensors, err
}

// metadata reads the values of metadataKey: an object of strings, or null.
func (s *scanner) metadata() (map[string]string, error) {
	if s.next() == 'n' {
		return nil, s.skip()
	}
	m := map[string]string{}
	return m, s.object(func(key string) (err error) {
		if m[key], err = s.str(); err != nil {
			return fmt.Errorf("value of %s: %w", shown(key), err)
		}
		return nil
	})
}

var fields = []string{"dtype", "shape", "data_offsets"}

// tensor reads what a header says of a tensor: an object, or the values of its fields as a list.
func (s *scanner) tensor(t *Tensor, dims *[]int) error {
	count := 0
	var seen [3]bool
	read := func(field int) error {
		if field < 0 || field >= len(fields) {
			return s.skip()
		}
		if seen[field] {
			return s.errorf("%s stands there twice", fields[field])
		}
		seen[field] = true
		if err := s.field(t, field, dims); err != nil {
			return fmt.Errorf("%s: %w", fields[field], err)
		}
		return nil
	}
	var err error
	if s.next() == '[' {
		err = s.list(func(i int) error { count = i + 1; return read(i) })
	} else {
		err = s.object(func(key string) error { return read(slices.Index(fields, key)) })
	}
	switch i := slices.Index(seen[:], false); {
	case err != nil:
		return err
	case i >= 0:
		return s.errorf("%s is missing", fields[i])
	case count > len(fields):
		return s.errorf("a list of %d values instead of %d", count, len(fields))
	}
	return nil
}

func (s *scanner) field(t *Tensor, field int, dims *[]int) (err error) {
	switch field {
	case 0:
		t.DType, err = s.dtype()
	case 1:
		*dims = (*dims)[:0]
		err = s.list(func(int) error {
			n, err := s.natural()
			if err == nil && n > math.MaxInt {
				err = s.errorf("a dimension of %d; the limit is %d", n, math.MaxInt)
			}
			*dims = append(*dims, int(n))
			return err
		})
		t.Shape = append([]int{}, *dims...)
	case 2:
		var begin, end uint64
		begin, end, err = s.pair()
		t.Offset, t.Bytes = int64(begin), int64(end)
	}
	return err
}

// dtype reads the name of a type. It may also be the key of an object whose value is null: so
// serde writes a variant that could hold something.
func (s *scanner) dtype() (d DType, err error) {
	if s.next() != '{' {
		name, err := s.str()
		if err != nil {
			return 0, err
		}
		d, ok := typeNamed(name)
		if !ok {
			return 0, s.errorf("unknown type %s", shown(name))
		}
		return d, nil
	}
	count := 0
	err = s.object(func(name string) error {
		d, _ = typeNamed(name)
		if count++; s.next() != 'n' {
			return s.errorf("%s instead of the name of a type", s.what())
		}
		return s.skip()
	})
	if err == nil && (count != 1 || d == 0) {
		err = s.errorf("an object instead of the name of a type")
	}
	return d, err
}

// pair reads a list of two numbers.
func (s *scanner) pair() (a, b uint64, err error) {
	count := 0
	err = s.list(func(i int) (err error) {
		switch count = i + 1; i {
		case 0:
			a, err = s.natural()
		case 1:
			b, err = s.natural()
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil && count != 2 {
		err = s.errorf("a list of %d numbers instead of 2", count)
	}
	return a, b, err
}

// lastOfEachName keeps of the tensors of one name the last.
func lastOfEachName(tensors []Tensor) []Tensor {
	order := make([]int32, len(tensors)) // a header of maxHeader bytes has fewer than 2^31
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(tensors[a].Name, tensors[b].Name), cmp.Compare(a, b))
	})
	kept := order[:0]
	for i, n := range order {
		if i+1 == len(order) || tensors[order[i+1]].Name != tensors[n].Name {
			kept = append(kept, n)
		}
	}
	if len(kept) == len(tensors) {
		return tensors
	}
	slices.Sort(kept)
	for i, n := range kept {
		tensors[i] = tensors[n]
	}
	return tensors[:len(kept)]
}

// place sorts tensors as header returns them by place, checks that they fill bytes without gaps,
// and gives them their places in a file whose data starts at data.
func place(tensors []Tensor, data, bytes int64) error {
	slices.SortFunc(tensors, func(a, b Tensor) int {
		if a.Offset != b.Offset {
			return cmp.Compare(uint64(a.Offset), uint64(b.Offset))
		}
		return cmp.Or(cmp.Compare(uint64(a.Bytes), uint64(b.Bytes)), cmp.Compare(a.Name, b.Name))
	})
	at := uint64(0)
	for i := range tensors {
		t := &tensors[i]
		begin, end := uint64(t.Offset), uint64(t.Bytes)
		if begin != at || end < at {
			return fmt.Errorf("tensor %s takes the bytes %d to %d of the data; it must start at %d, where the one before it ends", shown(t.Name), begin, end, at)
		}
		size, err := sizeOf(t.Name, t.DType, t.Shape)
		if err != nil {
			return err
		}
		if end-begin != size {
			return fmt.Errorf("tensor %s has %d bytes; %v of shape %v needs %d", shown(t.Name), end-begin, t.DType, shownShape(t.Shape), size)
		}
		t.Offset, t.Bytes, at = data+int64(begin), int64(size), end
	}
	if at != uint64(bytes) {
		return fmt.Errorf("the tensors end at byte %d of the data; the file has %d", at, bytes)
	}
	return nil
}
