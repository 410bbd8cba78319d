package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// withHeader returns a file of a header and data.
func withHeader(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func parse(file []byte) (*safetensors.File, error) {
	return safetensors.NewFile(bytes.NewReader(file), int64(len(file)))
}

// TestHeadersAsTheReferenceTakesThem: what safetensors 0.8.0 answers where cases.json has no file.
// Each header is followed by two bytes.
func TestHeadersAsTheReferenceTakesThem(t *testing.T) {
	const rest = `"shape":[2],"data_offsets":[0,2]`
	for _, c := range []struct{ header, want string }{
		{`{"a":{"dtype":{"U8":null},` + rest + `}}`, ""},
		{`{"a":[{"U8":null},[2],[0,2]]}`, ""},
		{`{"a":{"dtype":{"U8":{}},` + rest + `}}`, "an object instead of the name"},
		{`{"a":{"dtype":{"U8":null,"I8":null},` + rest + `}}`, "an object instead of the name"},
		{`{"a":{"dtype":{"U8":null,"U8":null},` + rest + `}}`, "an object instead of the name"},
		{`{"a":{"dtype":{},` + rest + `}}`, "an object instead of the name"},
		{`{"a":{"dtype":{"X8":null},` + rest + `}}`, "an object instead of the name"},
		{`{"a":{"dtype":4,` + rest + `}}`, "a number instead of a string"},
		{`{"a":["U8",[2],[0,2],3]}`, "a list of 4 values instead of 3"},
		{`{"a":["U8",[2]]}`, "data_offsets is missing"},
		{`{"a":{"dtype":"U8","shape":[2],"data_offsets":[-0,2]}}`, `-0 is not a whole number`},
		{`{"a":{"dtype":"U8","shape":[2],"data_offsets":[00,2]}}`, `00 is not a number`},
		{`{"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}}`, "shape stands there twice"},
		{`{"a":{"dtype":"U8","shape":"","data_offsets":[0,2]}}`, "a string instead of a list"},
		{`{"a":{"dtype":"U8","shape":{},"data_offsets":[0,2]}}`, "an object instead of a list"},
		{`{"a":1,"a":{"dtype":"U8",` + rest + `}}`, "a number instead of an object"},
		{`{"a":["I16",[9,9],[7,6]],"a":{"dtype":"U8",` + rest + `}}`, ""},
		{`{"a":["U8",[2],[0,2]],"b":["U8",[0],[2,1]]}`, `tensor "b" takes the bytes 2 to 1 of the data; it must start at 2`},
		{`{"a":["U8",[1],[18446744073709551615,0]],"b":["U8",[2],[0,2]]}`, `tensor "a" takes the bytes 18446744073709551615 to 0`},
		{`{"a":{"\u0064type":"U8",` + rest + `}}`, ""},
		{`{"\u005f_metadata__":{"k":"v"},"a":{"dtype":"U8",` + rest + `}}`, ""},
		{`{"__metadata__":null,"__metadata__":null,"a":{"dtype":"U8",` + rest + `}}`, "__metadata__ stands there twice"},
		{"\r\n\t " + `{"a":{"dtype":"U8",` + rest + "}}\r", ""},
		{"\f" + `{"a":{"dtype":"U8",` + rest + `}}`, `'\f' instead of an object`},
		{`{,"a":{"dtype":"U8",` + rest + `}}`, "',' instead of a string"},
		{`{"a"={"dtype":"U8",` + rest + `}}`, "'=' instead of a colon"},
	} {
		checkHeader(t, c.header, c.want)
	}
}

// TestUnknownFieldsAreReadStrictly, as by the reference implementation.
func TestUnknownFieldsAreReadStrictly(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{`1`, ""}, {`-0`, ""}, {`0.5E+7`, ""}, {`0e999`, ""}, {`1e-999`, ""}, {`0.01e310`, ""}, {`123456789012345678901234567890`, ""},
		{`null`, ""}, {`true`, ""}, {`[false,{"k":[]}]`, ""}, {`{"k":1,"k":2}`, ""},
		{`"\ud83d\uDE00\/\b\f\n\r\t\"\\"`, ""}, {"\"\x7f\"", ""},
		{`1e999`, "out of range"}, {`-1e999`, "out of range"}, {`1e99999999999999999999`, "out of range"},
		{`1.`, "is not a number"}, {`01`, "is not a number"}, {`-`, "is not a number"}, {`1e`, "is not a number"}, {`1e+`, "is not a number"}, {`-a`, "is not a number"},
		{`.1`, "'.' instead of a value"}, {`+1`, "'+' instead of a value"}, {`NaN`, "'N' instead of a value"}, {`nul`, "'n' instead of a value"},
		{`nullx`, "'x' instead of a comma"}, {`[1,]`, "']' instead of a value"}, {`[1 2]`, "a number instead of a comma"}, {`{"k":1,}`, "'}' instead of a string"},
		{`"\ud800"`, "half of a surrogate pair"}, {`"\udc00"`, "half of a surrogate pair"}, {`"\ud800\ud800"`, "half of a surrogate pair"},
		{`"\u12"`, "not hexadecimal"}, {`"\u00zz"`, "not hexadecimal"}, {`"\u+123"`, "not hexadecimal"}, {`"\x"`, "unknown escape"},
		{"\"\t\"", "control character 0x09"}, {"\"\\n\x1f\"", "control character 0x1f"},
		{strings.Repeat("[", 125) + strings.Repeat("]", 125), ""},
		{strings.Repeat(`{"k":`, 125) + "1" + strings.Repeat("}", 125), ""},
		{strings.Repeat("[", 126) + strings.Repeat("]", 126), "more than 127"},
	} {
		checkHeader(t, `{"a":{"dtype":"U8","x":`+c.value+`,"shape":[2],"data_offsets":[0,2]}}`, c.want)
	}
}

// checkHeader opens a file of header and two bytes: one tensor of the type U8, or an error.
func checkHeader(t *testing.T, header, want string) {
	t.Helper()
	f, err := parse(withHeader(header, 7, 9))
	if want != "" {
		require.ErrorIs(t, err, safetensors.ErrInvalid, header)
		require.ErrorContains(t, err, want, header)
		return
	}
	require.NoError(t, err, header)
	require.Equal(t, []safetensors.Tensor{{"a", safetensors.U8, []int{2}, int64(8 + len(header)), 2}}, f.Tensors())
}

// TestDimensionsThatNoIntHolds are the one difference to the reference implementation, which takes
// them in a tensor without values.
func TestDimensionsThatNoIntHolds(t *testing.T) {
	_, err := parse(withHeader(`{"a":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}}`))
	require.ErrorIs(t, err, safetensors.ErrInvalid)
	require.ErrorContains(t, err, `tensor "a": shape: byte 49: a dimension of 9223372036854775808; the limit is`)
}

func TestErrorsShowNamesThatAreFitToPrint(t *testing.T) {
	_, err := parse(withHeader(`{"\u001b[2J` + strings.Repeat("x", 1000) + `":{}}`))
	require.ErrorContains(t, err, `tensor "\x1b[2Jxxx`)
	require.Less(t, len(err.Error()), 400)
}

// sample is a valid file with all that a header may have.
func sample(t testing.TB) []byte {
	plan, err := safetensors.NewPlan(map[string]string{"format": "pt", "ä\n": "\x00"}, []safetensors.Tensor{
		{Name: "experts.0.w", DType: safetensors.F32, Shape: []int{2, 3}},
		{Name: "step", DType: safetensors.I64},
		{Name: "empty", DType: safetensors.BF16, Shape: []int{3, 0}},
		{Name: "scales \"x\"", DType: safetensors.F4, Shape: []int{6}},
	})
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	for i, x := range plan.Tensors() {
		require.NoError(t, w.Write(x.Name, bytes.Repeat([]byte{byte(i + 1)}, int(x.Bytes))))
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestCutAnywhere(t *testing.T) {
	file := sample(t)
	_, err := parse(file)
	require.NoError(t, err)
	for n := range file {
		_, err := parse(file[:n:n])
		require.ErrorIs(t, err, safetensors.ErrInvalid, "%d bytes", n)
	}
	_, err = parse(append(file, 0))
	require.ErrorIs(t, err, safetensors.ErrInvalid)
}

// TestEveryBitOfTheHeader may be wrong: then the file is refused, or all of its tensors can be
// read.
func TestEveryBitOfTheHeader(t *testing.T) {
	file := sample(t)
	end := 8 + int(binary.LittleEndian.Uint64(file))
	opened := 0
	for bit := range 8 * end {
		changed := bytes.Clone(file)
		changed[bit/8] ^= 1 << (bit % 8)
		if f, err := parse(changed); err == nil {
			opened++
			readAll(t, f, changed)
		} else {
			require.ErrorIs(t, err, safetensors.ErrInvalid)
		}
	}
	require.Greater(t, opened, 100, "names may change")
	require.Less(t, opened, 4*end)
}

// readAll reads the tensors of f, which is valid and has the bytes file.
func readAll(t testing.TB, f *safetensors.File, file []byte) {
	at := int64(8 + binary.LittleEndian.Uint64(file))
	for _, x := range f.Tensors() {
		require.Equal(t, at, x.Offset)
		elements := 1
		for _, n := range x.Shape {
			elements *= n
		}
		require.EqualValues(t, elements*x.DType.Bits(), 8*x.Bytes)
		at += x.Bytes
		found, ok := f.Lookup(x.Name)
		require.True(t, ok)
		require.Equal(t, x, found)
		dst := make([]byte, x.Bytes)
		crc, err := f.ReadInto(x.Name, dst)
		require.NoError(t, err)
		require.Equal(t, file[x.Offset:at], dst)
		again, err := f.Checksum(x.Name)
		require.NoError(t, err)
		require.Equal(t, crc, again)
	}
	require.EqualValues(t, len(file), at)
}

func FuzzHeader(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(vectors, "*.safetensors"))
	require.NoError(f, err)
	for _, path := range paths {
		file, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(file)
	}
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := parse(file)
		if err != nil {
			require.Nil(t, r)
			require.ErrorIs(t, err, safetensors.ErrInvalid)
			return
		}
		header := file[8 : 8+binary.LittleEndian.Uint64(file)]
		require.True(t, json.Valid(header), "%q", header)
		readAll(t, r, file)
		requireSame(t, r, copied(t, r))
	})
}

// requireSame checks that the file written from what f holds has the same tensors and metadata.
func requireSame(t testing.TB, f *safetensors.File, written []byte) {
	back, err := parse(written)
	require.NoError(t, err)
	require.Equal(t, f.Metadata(), back.Metadata())
	require.Len(t, back.Tensors(), len(f.Tensors()))
	for _, x := range f.Tensors() {
		y, ok := back.Lookup(x.Name)
		require.True(t, ok)
		y.Offset = x.Offset
		require.Equal(t, x, y)
		a, err := f.Checksum(x.Name)
		require.NoError(t, err)
		b, err := back.Checksum(x.Name)
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
}

// TestMemoryOfHeaders is a small multiple of the header for the headers that need most.
func TestMemoryOfHeaders(t *testing.T) {
	const n = 8000
	list := func(value func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(value(i) + ",")
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for _, c := range []struct{ name, header string }{
		{"tensors", `{` + list(func(i int) string { return fmt.Sprintf(`"%x":["U8",[0],[0,0]]`, i) }) + `}`},
		{"one name", `{` + list(func(i int) string { return `"":["U8",[],[0,0]]` }) + `}`},
		{"dimensions", `{"a":["U8",[` + list(func(int) string { return "0" }) + `],[0,0]]}`},
		{"metadata", `{"__metadata__":{` + list(func(i int) string { return fmt.Sprintf(`"%x":""`, i) }) + `}}`},
		{"escapes", `{"__metadata__":{"` + list(func(i int) string { return `\n` }) + `":""}}`},
		{"unknown field", `{"a":{"x":[` + list(func(i int) string { return "{}" }) + `],"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`},
		{"bad", `{` + list(func(i int) string { return fmt.Sprintf(`"%x":["U8",[1],[0,0]]`, i) }) + `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := withHeader(c.header)
			ratio := float64(allocated(func() { _, _ = parse(file) })) / float64(len(file))
			t.Logf("%d bytes of header: %.1f times as many allocated", len(file), ratio)
			require.Less(t, ratio, 32.0) // in all, also what was soon free
		})
	}
}
