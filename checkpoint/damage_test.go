package checkpoint_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

// rows is a model of three tensors of each role, one of each a rank's.
func rows() (*model, layout) {
	m, l := &model{}, layout{}
	for i, name := range []string{"a", "b", "c"} {
		for role := range param.Role(2) {
			data := filled(100, func() float32 { return float32(10*i + int(role)) })
			m.entries = append(m.entries, param.Entry{Name: role.String() + "." + name, Role: role, Shape: []int{25, 4}, Data: data})
			l = append(l, []int{i})
		}
	}
	return m, l
}

// damages change a folder of two checkpoints, of steps 1 and 2.
var damages = map[string]struct {
	do       func(t *testing.T, dir string)
	want     []string
	unusable bool // found when the state is already overwritten
}{
	"a flipped bit": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "model-00002-of-00003.safetensors"), func(b []byte) []byte { b[len(b)-7] ^= 4; return b })
	}, want: []string{`tensor "m.parameter.b" of`, "model-00002-of-00003.safetensors: the checksum is wrong: CRC-32C"}, unusable: true},
	"a flipped bit of moments": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "training-00003-of-00003.safetensors"), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	}, want: []string{`tensor "m.training.c" of`}, unusable: true},
	"a flipped bit of a header": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "model-00001-of-00003.safetensors"), func(b []byte) []byte { b[9] ^= 1; return b })
	}, want: []string{"model-00001-of-00003.safetensors"}},
	"a truncated file": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "training-00001-of-00003.safetensors"), func(b []byte) []byte { return b[:len(b)-1] })
	}, want: []string{"training-00001-of-00003.safetensors"}},
	"an empty file": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "training-00001-of-00003.safetensors"), func(b []byte) []byte { return nil })
	}, want: []string{"training-00001-of-00003.safetensors"}},
	"a removed file": {do: func(t *testing.T, dir string) {
		require.NoError(t, os.Remove(file(dir, 2, "model-00003-of-00003.safetensors")))
	}, want: []string{"model-00003-of-00003.safetensors: no such file or directory"}},
	"two files swapped": {do: func(t *testing.T, dir string) {
		one, two := file(dir, 2, "model-00001-of-00003.safetensors"), file(dir, 2, "model-00002-of-00003.safetensors")
		require.NoError(t, os.Rename(one, one+"x"))
		require.NoError(t, os.Rename(two, one))
		require.NoError(t, os.Rename(one+"x", two))
	}, want: []string{
		"2 faults", `tensor "m.parameter.a" is not in model-00001-of-00003.safetensors, where the index has it`,
		`tensor "m.parameter.b" is not in model-00002-of-00003.safetensors, where the index has it`,
	}},
	"a file of another step": {do: func(t *testing.T, dir string) {
		replace(t, dir, "model-00001-of-00003.safetensors")
	}, want: []string{"model-00001-of-00003.safetensors has switchyard_step=\"1\", and the index 2: they are not of one checkpoint"}},
	"the index of another step": {do: func(t *testing.T, dir string) {
		replace(t, dir, "training.safetensors.index.json")
	}, want: []string{"training.safetensors.index.json is of step 1 of 3 ranks, model.safetensors.index.json of step 2 of 3 ranks: they are not of one checkpoint"}},
	"a newer version": {do: func(t *testing.T, dir string) {
		swap(t, file(dir, 2, "model.safetensors.index.json"), `"switchyard_format": 1`, `"switchyard_format": 2`)
	}, want: []string{"model.safetensors.index.json: switchyard_format is 2, and this version of the library reads up to 1: a newer one wrote it"}},
	"a version that is none": {do: func(t *testing.T, dir string) {
		swap(t, file(dir, 2, "model.safetensors.index.json"), `"switchyard_format": 1`, `"switchyard_format": "x"`)
	}, want: []string{`switchyard_format is "\"x\"", want a number from 1`}},
	"an index that is cut": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "training.safetensors.index.json"), func(b []byte) []byte { return b[:len(b)/2] })
	}, want: []string{"training.safetensors.index.json"}},
	"no training index": {do: func(t *testing.T, dir string) {
		require.NoError(t, os.Remove(file(dir, 2, "training.safetensors.index.json")))
	}, want: []string{`tensor "m.training.a" is missing (rank 0)`}},
	"a checksum that is none": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "model.safetensors.index.json"), func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"m.parameter.a": "`), []byte(`"m.parameter.a": "+`), 1)
		})
	}, want: []string{"is not eight hexadecimal digits"}},
	"a tensor in both indexes": {do: func(t *testing.T, dir string) {
		change(t, file(dir, 2, "training.safetensors.index.json"), func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"m.training.a"`), []byte(`"m.parameter.a"`))
		})
	}, want: []string{`training.safetensors.index.json: tensor "m.parameter.a" stands in model.safetensors.index.json too`}},
	"no checksum": {do: func(t *testing.T, dir string) {
		swap(t, file(dir, 2, "model.safetensors.index.json"), `"m.parameter.a"`, `"m.parameter.other"`)
	}, want: []string{`tensor "m.parameter.a" has no checksum`}},
}

func file(dir string, step int, name string) string {
	return filepath.Join(dir, map[int]string{1: "step-00000001", 2: "step-00000002"}[step], name)
}

func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, how(text), 0o666))
}

// swap replaces the first occurrence of a text in a file.
func swap(t *testing.T, path, from, to string) {
	t.Helper()
	change(t, path, func(b []byte) []byte {
		require.Contains(t, string(b), from)
		return bytes.Replace(b, []byte(from), []byte(to), 1)
	})
}

// replace puts a file of step 1 in the place of that of step 2.
func replace(t *testing.T, dir, name string) {
	t.Helper()
	text, err := os.ReadFile(file(dir, 1, name))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file(dir, 2, name), text, 0o666))
}

// TestDamage of every kind is found by Load, on all ranks alike, and by Verify.
func TestDamage(t *testing.T) {
	m, l := rows()
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
				return saveOn(w, checkpoint.Config{Dir: dir}, m.part(l, rank, false), 1, 2)
			}))
			latest, err := checkpoint.Latest(dir)
			require.NoError(t, err)
			report, err := checkpoint.Verify(latest.Path)
			require.NoError(t, err)
			require.Len(t, report.Tensors, 6)

			d.do(t, dir)
			parts := make([]checkpoint.Part, 3)
			errs := onRanks(t, 3, func(w *switchyard.World, rank int) error {
				parts[rank] = m.part(l, rank, true)
				_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, parts[rank])
				return err
			})
			for rank, err := range errs {
				for _, want := range d.want {
					require.ErrorContains(t, err, want, "rank %d", rank)
				}
				require.Equal(t, errs[0].Error(), err.Error())
				require.Equal(t, d.unusable, errors.Is(err, checkpoint.ErrUnusable))
				if !d.unusable {
					require.Equal(t, m.part(l, rank, true), parts[rank], "the state has changed")
				}
			}
			if name != "no training index" { // only the one who loads knows that there should be one
				_, err = checkpoint.Verify(latest.Path)
				require.Error(t, err)
				require.ErrorContains(t, err, d.want[len(d.want)-1])
			}
			first, err := checkpoint.Verify(filepath.Dir(file(dir, 1, "x")))
			require.NoError(t, err, "the other checkpoint is as it was")
			require.Equal(t, 1, first.Step)
		})
	}
}
