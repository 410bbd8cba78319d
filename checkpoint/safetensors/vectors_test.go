package safetensors_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const vectors = "testdata/vectors"

// vector is what the reference implementation answers for a file.
type vector struct {
	File       string
	Valid      bool
	ErrorKind  string  `json:"error_kind"`
	MadeBy     string  `json:"made_by"`
	Tensors    [][]any // name, type, shape, bytes in hex, sorted by name
	Metadata   map[string]string
	OffsetKeys []string `json:"offset_keys"`
}

// readVectors skips the test where the vectors are not: in the module cache.
func readVectors[T any](t testing.TB, file string) []T {
	text, err := os.ReadFile(filepath.Join(vectors, file))
	if os.IsNotExist(err) {
		t.Skip("no vectors: they are in a clone only")
	}
	require.NoError(t, err)
	var all struct{ Cases []T }
	require.NoError(t, json.Unmarshal(text, &all))
	return all.Cases
}

func TestFilesThatTheReferenceOpens(t *testing.T) {
	seen := 0
	for _, v := range readVectors[vector](t, "cases.json") {
		if !v.Valid {
			continue
		}
		seen++
		t.Run(v.File, func(t *testing.T) {
			f, err := safetensors.Open(filepath.Join(vectors, v.File))
			require.NoError(t, err)
			defer func() { require.NoError(t, f.Close()) }()
			checkTensors(t, v, f)
		})
	}
	require.Equal(t, 41, seen)
}

func checkTensors(t *testing.T, v vector, f *safetensors.File) {
	require.Equal(t, v.Metadata, f.Metadata())
	names := []string{}
	for _, x := range f.Tensors() {
		names = append(names, x.Name)
	}
	require.Equal(t, v.OffsetKeys, names)
	require.Len(t, v.Tensors, len(names))
	for _, want := range v.Tensors {
		x, ok := f.Lookup(want[0].(string))
		require.True(t, ok, want)
		require.Equal(t, want[0], x.Name)
		require.Equal(t, want[1], x.DType.String())
		shape, err := json.Marshal(x.Shape)
		require.NoError(t, err)
		wanted, err := json.Marshal(want[2])
		require.NoError(t, err)
		require.JSONEq(t, string(wanted), string(shape))
		data := make([]byte, x.Bytes)
		_, err = f.ReadInto(x.Name, data)
		require.NoError(t, err)
		require.Equal(t, want[3], hex.EncodeToString(data), x.Name)
	}
}

// kinds gives for the start of an error of the reference a part of ours. The longest start counts.
var kinds = []struct{ theirs, ours string }{
	{"header too small", "too few for the header's length"},
	{"header too large", "the limit is 100000000"},
	{"invalid header length", "in a file of"},
	{"invalid UTF-8 in header", "is not UTF-8"},
	{"invalid offset for tensor", "must start at"},
	{"invalid shape, data type, or offset", "needs"},
	{"overflow computing buffer size", "overflows 64 bits"},
	{"incomplete metadata, file not fully covered", "; the file has"},
	{"The slice is slicing for subbytes dtypes", "ends within a byte"},
	{"invalid JSON in header: trailing characters", "after the end of the JSON value"},
	{"invalid JSON in header: trailing comma", "instead of"},
	{"invalid JSON in header: expected value", "instead of"},
	{"invalid JSON in header: EOF while parsing", "the end"},
	{"invalid JSON in header: invalid type: floating point", "is not a whole number"},
	{"invalid JSON in header: invalid type", "instead of"},
	{"invalid JSON in header: invalid value: integer", "is not a whole number"},
	{"invalid JSON in header: invalid length", "instead of 2"},
	{"invalid JSON in header: missing field", "is missing"},
	{"invalid JSON in header: duplicate field", "stands there twice"},
	{"invalid JSON in header: unknown variant", "unknown type"},
	{"invalid JSON in header: unexpected end of hex escape", "half of a surrogate pair"},
}

func TestFilesThatTheReferenceRefuses(t *testing.T) {
	seen := 0
	for _, v := range readVectors[vector](t, "cases.json") {
		if v.Valid {
			continue
		}
		seen++
		t.Run(v.File, func(t *testing.T) {
			path := filepath.Join(vectors, v.File)
			f, err := safetensors.Open(path)
			require.Nil(t, f)
			require.ErrorIs(t, err, safetensors.ErrInvalid)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, ourKind(t, v.ErrorKind))
		})
	}
	require.Equal(t, 79, seen)
}

func ourKind(t *testing.T, theirs string) string {
	for _, k := range kinds {
		if strings.HasPrefix(theirs, k.theirs) {
			return k.ours
		}
	}
	require.Fail(t, "no kind", theirs)
	return ""
}
