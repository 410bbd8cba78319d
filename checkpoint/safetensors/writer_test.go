package safetensors_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// TestWritesTheBytesOfTheReference writes again what the reference implementation has written.
func TestWritesTheBytesOfTheReference(t *testing.T) {
	seen := 0
	for _, v := range readVectors[vector](t, "cases.json") {
		if !v.Valid || v.MadeBy == "bytes" {
			continue
		}
		seen++
		t.Run(v.File, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(vectors, v.File))
			require.NoError(t, err)
			f, err := parse(want)
			require.NoError(t, err)
			require.Equal(t, hex.Dump(want), hex.Dump(copied(t, f)))
		})
	}
	require.Equal(t, 11, seen)
}

// copied writes what f holds.
func copied(t testing.TB, f *safetensors.File) []byte {
	var out bytes.Buffer
	plan, err := safetensors.NewPlan(f.Metadata(), f.Tensors())
	require.NoError(t, err)
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	for _, x := range plan.Tensors() {
		data := make([]byte, x.Bytes)
		crc, err := f.ReadInto(x.Name, data)
		require.NoError(t, err)
		require.NoError(t, w.Write(x.Name, data))
		written, ok := w.Checksum(x.Name)
		require.True(t, ok)
		require.Equal(t, crc, written)
		require.Equal(t, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)), crc)
	}
	require.NoError(t, w.Close())
	require.EqualValues(t, plan.Size(), out.Len())
	return out.Bytes()
}

// allTypes are the names of all types, in the order that their constants have.
var allTypes = strings.Fields("BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64")

func TestTypes(t *testing.T) {
	for i, name := range allTypes {
		d := safetensors.DType(i + 1)
		require.Equal(t, name, d.String())
		require.Positive(t, d.Bits())
	}
	for _, d := range []safetensors.DType{0, safetensors.U64 + 1, 255} {
		require.Zero(t, d.Bits())
		require.Contains(t, d.String(), "DType(")
	}
}

// drawTensors returns tensors of all types and of up to four dimensions.
func drawTensors(t *rapid.T) []safetensors.Tensor {
	names := rapid.SliceOfNDistinct(rapid.String().Filter(func(s string) bool { return s != "__metadata__" }), 0, 9, rapid.ID)
	var tensors []safetensors.Tensor
	for _, name := range names.Draw(t, "names") {
		x := safetensors.Tensor{Name: name, DType: safetensors.DType(rapid.IntRange(1, len(allTypes)).Draw(t, "type"))}
		x.Shape = rapid.SliceOfN(rapid.IntRange(0, 5), 0, 4).Draw(t, "shape")
		if x.DType.Bits()%8 != 0 {
			x.Shape = append(x.Shape, 4)
		}
		tensors = append(tensors, x)
	}
	return tensors
}

// TestRandomTensorsReturn through a file that is written in pieces of any size.
func TestRandomTensorsReturn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tensors := drawTensors(t)
		metadata := rapid.Ptr(rapid.MapOfN(rapid.String(), rapid.String(), 0, 3), true).Draw(t, "metadata")
		if metadata == nil {
			metadata = new(map[string]string)
		}
		plan, err := safetensors.NewPlan(*metadata, tensors)
		require.NoError(t, err)
		var out bytes.Buffer
		w, err := safetensors.NewWriter(&out, plan)
		require.NoError(t, err)
		data := map[string][]byte{}
		for _, x := range plan.Tensors() {
			d := rapid.SliceOfN(rapid.Byte(), int(x.Bytes), int(x.Bytes)).Draw(t, "data")
			data[x.Name] = d
			cut := rapid.IntRange(0, len(d)).Draw(t, "cut")
			require.NoError(t, w.Write(x.Name, d[:cut]))
			require.NoError(t, w.Write(x.Name, d[cut:]))
			crc, ok := w.Checksum(x.Name)
			require.True(t, ok)
			require.Equal(t, crc32.Checksum(d, crc32.MakeTable(crc32.Castagnoli)), crc)
		}
		require.NoError(t, w.Close())
		f, err := parse(out.Bytes())
		require.NoError(t, err)
		require.Equal(t, *metadata, f.Metadata())
		require.Len(t, f.Tensors(), len(tensors))
		for _, x := range tensors {
			got, ok := f.Lookup(x.Name)
			require.True(t, ok)
			require.Equal(t, x.DType, got.DType)
			require.ElementsMatch(t, x.Shape, got.Shape)
			require.Equal(t, data[x.Name], out.Bytes()[got.Offset:got.Offset+got.Bytes])
		}
	})
}

func TestPlansThatAreRefused(t *testing.T) {
	u8 := func(name string, shape ...int) safetensors.Tensor {
		return safetensors.Tensor{Name: name, DType: safetensors.U8, Shape: shape}
	}
	for _, c := range []struct {
		name     string
		metadata map[string]string
		tensors  []safetensors.Tensor
		want     string
	}{
		{"a name twice", nil, []safetensors.Tensor{u8("a"), u8("b"), {Name: "a", DType: safetensors.F32}}, `two tensors have the name "a"`},
		{"the name of metadata", nil, []safetensors.Tensor{u8("__metadata__")}, "cannot be called __metadata__"},
		{"name not UTF-8", nil, []safetensors.Tensor{u8("a\xff")}, `the name of tensor "a\xff" is not UTF-8`},
		{"no type", nil, []safetensors.Tensor{{Name: "a"}}, `tensor "a" has the unknown type DType(0)`},
		{"unknown type", nil, []safetensors.Tensor{{Name: "a", DType: 23}}, `unknown type DType(23)`},
		{"negative dimension", nil, []safetensors.Tensor{u8("a", 2, -1)}, `tensor "a" has a dimension of -1`},
		{"negative dimension after 0", nil, []safetensors.Tensor{u8("a", 0, -1)}, `tensor "a" has a dimension of -1`},
		{"elements overflow", nil, []safetensors.Tensor{u8("a", math.MaxInt, math.MaxInt, math.MaxInt)}, "number of elements overflows 64 bits"},
		{"bits overflow", nil, []safetensors.Tensor{u8("a", 1<<30, 1<<30, 2)}, "number of bits overflows 64 bits"},
		{"half a byte", nil, []safetensors.Tensor{{Name: "a", DType: safetensors.F4, Shape: []int{3}}}, `tensor "a" of F4 ends within a byte, after 12 bits`},
		{"too many bytes", nil, []safetensors.Tensor{u8("a", 1<<30, 1<<30), u8("b", 1<<30, 1<<30), u8("c", 1<<30, 1<<30), u8("d", 1<<30, 1<<30), u8("e", 1<<30, 1<<30), u8("f", 1<<30, 1<<30), u8("g", 1<<30, 1<<30), u8("h", 1<<30, 1<<30)}, `tensor "h" of 1152921504606846976 bytes after 8070450532247928832 others`},
		{"key not UTF-8", map[string]string{"k\xff": "v"}, nil, `the metadata "k\xff" is not UTF-8`},
		{"value not UTF-8", map[string]string{"k": "\xff"}, nil, `the metadata "k" is not UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := safetensors.NewPlan(c.metadata, c.tensors)
			require.Nil(t, plan)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestPlanOfAHeaderThatIsTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a second and 300 MB")
	}
	_, err := safetensors.NewPlan(map[string]string{"k": strings.Repeat("v", 100_000_000)}, nil)
	require.ErrorContains(t, err, "a header of 100000032 bytes; the limit is 100000000")
}

// twoTensors plans "b", of three bytes, after "a", of two, and "e", of none, between them.
func twoTensors(t *testing.T) *safetensors.Plan {
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{
		{Name: "b", DType: safetensors.Bool, Shape: []int{3}},
		{Name: "a", DType: safetensors.U8, Shape: []int{2}}, {Name: "e", DType: safetensors.U8, Shape: []int{0}},
	})
	require.NoError(t, err)
	return plan
}

func TestWritesOutOfTurn(t *testing.T) {
	type write struct {
		name  string
		bytes int
	}
	for _, c := range []struct {
		name   string
		writes []write
		want   string
	}{
		{"unknown", []write{{"x", 0}}, `no tensor "x" is in the plan`},
		{"too early", []write{{"a", 1}, {"b", 3}}, `3 bytes of tensor "b", where "a" is to be written`},
		{"again", []write{{"a", 2}, {"a", 1}}, `1 bytes of tensor "a", where "b" is to be written`},
		{"too much", []write{{"a", 1}, {"a", 2}}, `2 bytes of tensor "a" after 1 others; it has 2`},
		{"bytes of an empty one", []write{{"e", 1}}, `1 bytes of tensor "e", where "a" is to be written`},
		{"after the last", []write{{"a", 2}, {"b", 3}, {"b", 1}}, `1 bytes of tensor "b" after the last tensor's`},
		{"not whole", []write{{"a", 2}, {"b", 2}}, `2 of 3 bytes of tensor "b" are written`},
		{"none", nil, `0 of 2 bytes of tensor "a" are written`},
		{"empty ones at any time", []write{{"b", 0}, {"e", 0}, {"a", 2}, {"a", 0}, {"b", 3}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := safetensors.NewWriter(&bytes.Buffer{}, twoTensors(t))
			require.NoError(t, err)
			for _, x := range c.writes {
				if err = w.Write(x.name, make([]byte, x.bytes)); err != nil {
					break
				}
			}
			if c.want == "" {
				require.NoError(t, w.Close())
				require.NoError(t, w.Close())
				require.ErrorContains(t, w.Write("b", nil), "closed")
				return
			}
			closed := w.Close()
			require.ErrorContains(t, closed, c.want)
			require.Equal(t, closed, w.Close())
			require.Equal(t, closed, w.Write("a", nil))
			if err != nil {
				require.Equal(t, closed, err)
			}
		})
	}
	w, err := safetensors.NewWriter(&bytes.Buffer{}, twoTensors(t))
	require.NoError(t, err)
	_, ok := w.Checksum("x")
	require.False(t, ok)
}

// TestTensorsWithoutBytes need no Write, be they the first, the last, or all.
func TestTensorsWithoutBytes(t *testing.T) {
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{{Name: "a", DType: safetensors.U8, Shape: []int{0}}, {Name: "b", DType: safetensors.U8, Shape: []int{2, 0}}})
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	f, err := parse(out.Bytes())
	require.NoError(t, err)
	require.Equal(t, plan.Tensors(), f.Tensors())
}

// TestMetadataIsSorted, so that the same gives the same bytes.
func TestMetadataIsSorted(t *testing.T) {
	var out bytes.Buffer
	plan, err := safetensors.NewPlan(map[string]string{"d": "1", "b": "2", "a": "3", "e": "4", "c": "5"}, nil)
	require.NoError(t, err)
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, `{"__metadata__":{"a":"3","b":"2","c":"5","d":"1","e":"4"}}`, strings.TrimRight(out.String()[8:], " "))
}

var errFull = errors.New("the disk is full")

// full takes the next bytes and fails after them.
type full int

func (f *full) Write(p []byte) (int, error) {
	if len(p) > int(*f) {
		return int(*f), errFull
	}
	*f -= full(len(p))
	return len(p), nil
}

// TestFullDisk at any byte is an error of the call that meets it and of all later ones.
func TestFullDisk(t *testing.T) {
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{{Name: "a", DType: safetensors.U8, Shape: []int{600 << 10}}, {Name: "b", DType: safetensors.Bool, Shape: []int{100}}})
	require.NoError(t, err)
	for _, room := range []full{0, 5, 100, 64 << 10, 300 << 10, full(plan.Size()) - 100, full(plan.Size()) - 1} {
		w, err := safetensors.NewWriter(&room, plan)
		require.NoError(t, err) // it is buffered
		err = w.Write("a", make([]byte, 600<<10))
		if err == nil {
			err = w.Write("b", make([]byte, 100))
		}
		closed := w.Close()
		require.ErrorIs(t, closed, errFull)
		if err != nil {
			require.ErrorIs(t, err, errFull)
			require.ErrorContains(t, err, `writing tensor "a"`)
		}
	}
	wide := make([]safetensors.Tensor, 2000)
	for i := range wide {
		wide[i] = safetensors.Tensor{Name: strings.Repeat("x", i), DType: safetensors.U8, Shape: []int{0}}
	}
	plan, err = safetensors.NewPlan(nil, wide)
	require.NoError(t, err)
	_, err = safetensors.NewWriter(new(full), plan)
	require.ErrorIs(t, err, errFull)
	require.ErrorContains(t, err, "writing the header")
}

// TestPlanDoesNotKeepShapes that the caller may change.
func TestPlanDoesNotKeepShapes(t *testing.T) {
	tensors := []safetensors.Tensor{{Name: "a", DType: safetensors.U8, Shape: []int{2}}}
	plan, err := safetensors.NewPlan(nil, tensors)
	require.NoError(t, err)
	tensors[0].Shape[0] = 9
	require.Equal(t, []int{2}, plan.Tensors()[0].Shape)
	require.Zero(t, tensors[0].Bytes)
}

// TestWriterNeedsNoMemoryForTensors beyond its buffer.
func TestWriterNeedsNoMemoryForTensors(t *testing.T) {
	data := make([]byte, 8<<20)
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{{Name: "a", DType: safetensors.U8, Shape: []int{len(data)}}})
	require.NoError(t, err)
	room := full(plan.Size())
	used := allocated(func() {
		w, err := safetensors.NewWriter(&room, plan)
		require.NoError(t, err)
		require.NoError(t, w.Write("a", data))
		require.NoError(t, w.Close())
	})
	require.Less(t, used, uint64(256<<10))
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("experts.0.w", byte(18), uint16(2), uint16(3), "format", "pt", []byte("abcdefghijklmnopqrstuvwxyz"))
	f.Add("", byte(2), uint16(1), uint16(4), "", "\x00\u2028", []byte{1, 2})
	f.Fuzz(func(t *testing.T, name string, dtype byte, rows, cols uint16, key, value string, data []byte) {
		plan, err := safetensors.NewPlan(map[string]string{key: value}, []safetensors.Tensor{
			{Name: name, DType: safetensors.DType(dtype), Shape: []int{int(rows), int(cols)}}, {Name: "\x01", DType: safetensors.U8, Shape: []int{}},
		})
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := safetensors.NewWriter(&out, plan)
		require.NoError(t, err)
		for _, x := range plan.Tensors() {
			for left := x.Bytes; left > 0; {
				part := append(bytes.Clone(data), 0)
				part = part[:min(int64(len(part)), left)]
				require.NoError(t, w.Write(x.Name, part))
				left -= int64(len(part))
			}
		}
		require.NoError(t, w.Close())
		r, err := parse(out.Bytes())
		require.NoError(t, err)
		require.Equal(t, map[string]string{key: value}, r.Metadata())
		require.Equal(t, plan.Tensors(), r.Tensors())
		require.Equal(t, out.Bytes(), copied(t, r))
	})
}
