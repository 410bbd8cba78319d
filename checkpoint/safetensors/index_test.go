package safetensors_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

const indexName = "model.safetensors.index.json"

// folder is a checkpoint in several files, and what transformers answers for it.
type folder struct {
	Dir          string
	Removed      []string // of the folder good
	Transformers struct{ Error string }
}

// lookup returns the path of a file: in the case's own folder, else in good.
func (c folder) lookup(file string) string {
	own := filepath.Join(vectors, "index", c.Dir, file)
	if _, err := os.Stat(own); err == nil || slices.Contains(c.Removed, file) {
		return own
	}
	return filepath.Join(vectors, "index", "good", file)
}

// TestIndexesOfTransformers are refused where transformers refuses them for what the index says.
// What is wrong with the shards, the caller sees in the files that are opened.
func TestIndexesOfTransformers(t *testing.T) {
	refused := map[string]string{
		"no_metadata": `no "metadata"`, "no_weight_map": `no "weight_map"`, "weight_map_empty": `no "weight_map"`,
		"index_not_json": "the end",
	}
	all := readVectors[folder](t, "index_cases.json")
	require.Len(t, all, 21)
	for _, c := range all {
		t.Run(c.Dir, func(t *testing.T) {
			x, err := safetensors.ReadIndex(c.lookup(indexName))
			if want, ok := refused[c.Dir]; ok {
				require.NotEmpty(t, c.Transformers.Error)
				require.ErrorIs(t, err, safetensors.ErrInvalid)
				require.ErrorContains(t, err, want)
				return
			}
			require.NoError(t, err)
			checkShards(t, c, x)
		})
	}
}

// absent are the tensors that an index names in files that do not hold them.
var absent = map[string]string{
	"tensor_absent":         "model.layers.0.self_attn.q_proj.weight",
	"tensor_in_other_shard": "model.layers.0.self_attn.q_proj.weight",
}

func checkShards(t *testing.T, c folder, x *safetensors.Index) {
	files := map[string]*safetensors.File{}
	for _, name := range x.Files() {
		f, err := safetensors.Open(c.lookup(name))
		if slices.Contains(c.Removed, name) {
			require.ErrorIs(t, err, fs.ErrNotExist)
			continue
		}
		require.NoError(t, err)
		defer func() { require.NoError(t, f.Close()) }()
		files[name] = f
	}
	for name, file := range x.WeightMap {
		if f := files[file]; f != nil {
			_, ok := f.Lookup(name)
			require.Equal(t, name != absent[c.Dir], ok, name)
		}
	}
}

func TestIndexAsTransformersWritesIt(t *testing.T) {
	readVectors[folder](t, "index_cases.json")
	want, err := os.ReadFile(filepath.Join(vectors, "index", "good", indexName))
	require.NoError(t, err)
	x, err := safetensors.ParseIndex(want)
	require.NoError(t, err)
	require.EqualValues(t, 632, x.TotalParameters)
	require.EqualValues(t, 1264, x.TotalSize)
	require.Equal(t, []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"}, x.Files())
	text, err := x.JSON()
	require.NoError(t, err)
	require.Equal(t, string(want), string(text))
}

func TestIndexesThatAreRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", ``, "the end instead of an object"},
		{"no object", `[]`, "a list instead of an object"},
		{"more after it", `{"metadata":{},"weight_map":{"a":"f"}} x`, "'x' after the end"},
		{"not UTF-8", "{\"metadata\":{},\"weight_map\":{\"a\xff\":\"f\"}}", "not UTF-8"},
		{"a tensor twice", `{"metadata":{},"weight_map":{"a":"f","b":"f","a":"g"}}`, `"weight_map": byte 52: tensor "a" stands there twice`},
		{"a map twice", `{"metadata":{},"weight_map":{"a":"f"},"weight_map":{"b":"f"}}`, `"weight_map": byte 51: it stands there twice`},
		{"metadata twice", `{"metadata":{},"metadata":{},"weight_map":{"a":"f"}}`, `"metadata": byte 26: it stands there twice`},
		{"a key twice", `{"metadata":{"k":1,"k":2},"weight_map":{"a":"f"}}`, `"k" stands there twice`},
		{"metadata is a list", `{"metadata":[],"weight_map":{"a":"f"}}`, `"metadata": byte 12: a list instead of an object`},
		{"metadata is null", `{"metadata":null,"weight_map":{"a":"f"}}`, "null instead of an object"},
		{"map is a list", `{"metadata":{},"weight_map":["a"]}`, `"weight_map": byte 28: a list instead of an object`},
		{"a file is a number", `{"metadata":{},"weight_map":{"a":1}}`, `file of tensor "a": byte 33: a number instead of a string`},
		{"a file is in another folder", `{"metadata":{},"weight_map":{"a":"b/c"}}`, `"b/c" is not a plain name`},
		{"a file is in another folder of Windows", `{"metadata":{},"weight_map":{"a":"b\\c"}}`, `is not a plain name`},
		{"a file is above", `{"metadata":{},"weight_map":{"a":".."}}`, `".." is not a plain name`},
		{"a file is the folder", `{"metadata":{},"weight_map":{"a":"."}}`, `"." is not a plain name`},
		{"a file has no name", `{"metadata":{},"weight_map":{"a":""}}`, `"" is not a plain name`},
		{"a file has a drive", `{"metadata":{},"weight_map":{"a":"C:c"}}`, `"C:c" is not a plain name`},
		{"a file has a zero", `{"metadata":{},"weight_map":{"a":"\u0000"}}`, `is not a plain name`},
		{"size is a string", `{"metadata":{"total_size":"1"},"weight_map":{"a":"f"}}`, `total_size: "1" is not a whole number`},
		{"size is a fraction", `{"metadata":{"total_size":1.5},"weight_map":{"a":"f"}}`, `total_size: 1.5 is not a whole number`},
		{"size is negative", `{"metadata":{"total_size":-1},"weight_map":{"a":"f"}}`, `total_size: -1 is not a whole number`},
		{"size is null", `{"metadata":{"total_size":null},"weight_map":{"a":"f"}}`, `total_size: null is not a whole number`},
		{"size is huge", `{"metadata":{"total_size":9223372036854775808},"weight_map":{"a":"f"}}`, `is not a whole number`},
		{"elements are a list", `{"metadata":{"total_parameters":[1]},"weight_map":{"a":"f"}}`, `total_parameters: [1] is not a whole number`},
		{"too deep", `{"metadata":{"k":` + strings.Repeat("[", 126) + strings.Repeat("]", 126) + `},"weight_map":{"a":"f"}}`, "more than 127 objects and lists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := safetensors.ParseIndex([]byte(c.text))
			require.Nil(t, x)
			require.ErrorIs(t, err, safetensors.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestIndexKeepsWhatItDoesNotKnow(t *testing.T) {
	x, err := safetensors.ParseIndex([]byte(`{"more":[1,{"a":2}], "metadata": { "total_size": 2.5e1 , "k": {"z":[1, 2.50],"a":"b"} } ,"weight_map":{"a":"f"}}`))
	require.NoError(t, err)
	require.Equal(t, &safetensors.Index{
		TotalSize: 25,
		Metadata:  map[string]json.RawMessage{"k": json.RawMessage(`{"z":[1, 2.50],"a":"b"}`)},
		WeightMap: map[string]string{"a": "f"},
	}, x)
}

func TestIndexThatSaysLittle(t *testing.T) {
	x := safetensors.Index{WeightMap: map[string]string{"<&>": "f"}}
	text, err := x.JSON()
	require.NoError(t, err)
	require.Equal(t, "{\n  \"metadata\": {},\n  \"weight_map\": {\n    \"<&>\": \"f\"\n  }\n}\n", string(text))
}

func TestIndexesThatCannotBeWritten(t *testing.T) {
	good := map[string]string{"a": "f"}
	for _, c := range []struct {
		name  string
		index safetensors.Index
		want  string
	}{
		{"empty", safetensors.Index{}, "weight_map"},
		{"a folder", safetensors.Index{WeightMap: map[string]string{"a": "../f"}}, "is not a plain name"},
		{"name not UTF-8", safetensors.Index{WeightMap: map[string]string{"a\xff": "f"}}, "is not UTF-8"},
		{"file not UTF-8", safetensors.Index{WeightMap: map[string]string{"a": "f\xff"}}, "is not UTF-8"},
		{"key not UTF-8", safetensors.Index{WeightMap: good, Metadata: map[string]json.RawMessage{"\xff": []byte("1")}}, "is not UTF-8"},
		{"negative", safetensors.Index{WeightMap: good, TotalSize: -1}, "is not a whole number"},
		{"a total twice", safetensors.Index{WeightMap: good, Metadata: map[string]json.RawMessage{"total_size": []byte("1")}}, "total_size stands in Metadata"},
		{"no JSON", safetensors.Index{WeightMap: good, Metadata: map[string]json.RawMessage{"k": []byte("{")}}, "unexpected end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := c.index.JSON()
			require.Nil(t, text)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestAnIndexThatIsTooLong for ReadIndex is not written.
func TestAnIndexThatIsTooLong(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	x := safetensors.Index{WeightMap: map[string]string{strings.Repeat("n", 100_000_000): "f"}}
	text, err := x.JSON()
	require.Nil(t, text)
	require.ErrorContains(t, err, " bytes for 1 tensors; the limit is 100000000")
}

func TestIndexFilesThatAreRefused(t *testing.T) {
	_, err := safetensors.ReadIndex(t.TempDir())
	require.ErrorIs(t, err, safetensors.ErrInvalid)
	_, err = safetensors.ReadIndex(filepath.Join(t.TempDir(), indexName))
	require.ErrorIs(t, err, fs.ErrNotExist)
	large := filepath.Join(t.TempDir(), indexName)
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 100_000_001))
	_, err = safetensors.ReadIndex(large)
	require.ErrorContains(t, err, "at most 100000000 bytes")
}

func TestIndexReturns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.MapOfN(rapid.String(), rapid.SampledFrom([]string{"a.safetensors", "b.safetensors", "ä", "<&>"}), 1, 9).Draw(t, "map")
		x := &safetensors.Index{
			TotalParameters: rapid.Int64Min(0).Draw(t, "elements"), TotalSize: rapid.Int64Min(0).Draw(t, "bytes"),
			Metadata: map[string]json.RawMessage{}, WeightMap: names,
		}
		for _, key := range rapid.SliceOfDistinct(rapid.StringMatching("[k-s]{1,3}"), rapid.ID).Draw(t, "keys") {
			x.Metadata[key] = json.RawMessage(`"` + key + `"`)
		}
		text, err := x.JSON()
		require.NoError(t, err)
		require.True(t, json.Valid(text))
		back, err := safetensors.ParseIndex(text)
		require.NoError(t, err)
		require.Equal(t, x, back)
	})
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":12,"k":[1,"\u00e4"]},"weight_map":{"a":"f","\ud83d\ude00":"g"}}`))
	f.Add([]byte(` {"weight_map":{"":"f"},"x":[{}],"metadata":{"total_parameters":1e3}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := safetensors.ParseIndex(text)
		if err != nil {
			require.Nil(t, x)
			require.ErrorIs(t, err, safetensors.ErrInvalid)
			return
		}
		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &keys))
		var weights map[string]string
		require.NoError(t, json.Unmarshal(keys["weight_map"], &weights))
		require.True(t, maps.Equal(weights, x.WeightMap))
		again, err := x.JSON()
		require.NoError(t, err)
		back, err := safetensors.ParseIndex(again)
		require.NoError(t, err)
		require.Equal(t, x.WeightMap, back.WeightMap)
	})
}
