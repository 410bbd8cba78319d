package models_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/models"
)

// shards cuts a checkpoint into files of an equal number of tensors, with an index.
func shards(t *testing.T, name string, n int) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(goldens, name))))
	whole, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	list, index := whole.Tensors(), map[string]string{}
	for i := range n {
		part := list[len(list)*i/n : len(list)*(i+1)/n]
		file := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
		write(t, filepath.Join(dir, file), part, whole)
		for _, tensor := range part {
			index[tensor.Name] = file
		}
	}
	require.NoError(t, whole.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "model.safetensors")))
	writeIndex(t, dir, index)
	return dir
}

func write(t *testing.T, path string, list []safetensors.Tensor, from *safetensors.File) {
	t.Helper()
	plan, err := safetensors.NewPlan(nil, list)
	require.NoError(t, err)
	out, err := os.Create(path)
	require.NoError(t, err)
	w, err := safetensors.NewWriter(out, plan)
	require.NoError(t, err)
	for _, tensor := range plan.Tensors() {
		data := make([]byte, tensor.Bytes)
		_, err := from.ReadInto(tensor.Name, data)
		require.NoError(t, err)
		require.NoError(t, w.Write(tensor.Name, data))
	}
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
}

func writeIndex(t *testing.T, dir string, where map[string]string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": where})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), text, 0o600))
}

// TestShards: a checkpoint in several files has the parameters of the one in a single file.
func TestShards(t *testing.T) {
	one, err := open(t, "mixtral")
	require.NoError(t, err)
	several, err := models.Open(shards(t, "mixtral", 3))
	require.NoError(t, err)
	require.Equal(t, parameters(t, one, 1), parameters(t, several, 1))
	saved := filepath.Join(t.TempDir(), "saved")
	require.NoError(t, several.Save(saved, nil))
	require.NoError(t, several.Close())
	again, err := models.Open(saved)
	require.NoError(t, err)
	require.Equal(t, parameters(t, one, 1), parameters(t, again, 1))
	require.NoError(t, again.Close())
}

// TestDamagedFolders: each fault is an error that names the file, and the tensor if there is one.
func TestDamagedFolders(t *testing.T) {
	const first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   []string
	}{
		"no config":     {func(dir string) error { return os.Remove(filepath.Join(dir, "config.json")) }, []string{"config.json"}},
		"config is cut": {func(dir string) error { return os.Truncate(filepath.Join(dir, "config.json"), 20) }, []string{"config.json"}},
		"no index": {func(dir string) error {
			return os.Remove(filepath.Join(dir, "model.safetensors.index.json"))
		}, []string{"neither model.safetensors nor"}},
		"missing shard": {func(dir string) error { return os.Remove(filepath.Join(dir, second)) }, []string{second}},
		"truncated": {func(dir string) error {
			return os.Truncate(filepath.Join(dir, first), 4096)
		}, []string{first}},
		"hostile header": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, first), []byte("\xff\xff\xff\xff\xff\xff\xff\x7f{}"), 0o600)
		}, []string{first}},
		"a tensor in two shards": {func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, first))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, second), data, 0o600)
		}, []string{first, second, "tensor"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := shards(t, "mixtral", 2)
			require.NoError(t, c.damage(dir))
			_, err := models.Open(dir)
			for _, says := range c.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

// TestIndexAgainstFiles: an index that has a tensor elsewhere.
func TestIndexAgainstFiles(t *testing.T) {
	dir := shards(t, "mixtral", 2)
	index, err := safetensors.ReadIndex(filepath.Join(dir, "model.safetensors.index.json"))
	require.NoError(t, err)
	const name = "model.layers.0.block_sparse_moe.gate.weight"
	other := map[string]string{"model-00001-of-00002.safetensors": "model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors": "model-00001-of-00002.safetensors"}
	index.WeightMap[name] = other[index.WeightMap[name]]
	writeIndex(t, dir, index.WeightMap)
	_, err = models.Open(dir)
	require.ErrorContains(t, err, name)
}

// TestBalanceLossFaults: logits that are not of the model.
func TestBalanceLossFaults(t *testing.T) {
	m, err := open(t, "mixtral")
	require.NoError(t, err)
	_, err = m.BalanceLoss([]blas32.General{{Rows: 1, Cols: 7, Stride: 7, Data: make([]float32, 7)}}, nil)
	require.ErrorContains(t, err, "1 × 7 for 8 experts")
	m, err = open(t, "deepseek_v3")
	require.NoError(t, err)
	_, err = m.BalanceLoss(nil, nil)
	require.ErrorContains(t, err, "no auxiliary loss")
}

// FuzzConfig opens checkpoints with any config.json: an error, or blocks that agree with the files.
func FuzzConfig(f *testing.F) {
	for _, name := range []string{"mixtral", "dbrx", "ernie4_5_moe", "step3p7", "qwen2_moe"} {
		text, err := os.ReadFile(filepath.Join(goldens, name, "config.json"))
		require.NoError(f, err)
		f.Add(text)
	}
	weights, err := filepath.Abs(filepath.Join(goldens, "mixtral", "model.safetensors"))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		require.NoError(t, os.Symlink(weights, filepath.Join(dir, "model.safetensors")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600))
		m, err := models.Open(dir)
		if err != nil {
			return
		}
		for _, b := range m.Blocks {
			require.Equal(t, 32, b.Dim)
			require.Equal(t, 8, b.Experts)
		}
		require.NoError(t, m.Close())
	})
}
