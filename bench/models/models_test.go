package models

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

const mixtral = "../../models/testdata/goldens/mixtral"

func TestOk(t *testing.T) {
	code, stdout, stderr := benchtest.Call(t, Run, mixtral)
	require.Zero(t, code, stderr)
	require.Equal(t, "mixtral ok\n1 ok, 0 wrong, 0 cannot\n", stdout)
}

// TestWrong changes a number of the vectors, and a model's type.
func TestWrong(t *testing.T) {
	wrong, cannot := copyOf(t, "wrong"), copyOf(t, "cannot")
	file := filepath.Join(wrong, "golden.safetensors")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	tensors, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	output, ok := tensors.Lookup("layers.1.output")
	require.True(t, ok)
	data[output.Offset+3] ^= 0x80 // its sign
	require.NoError(t, os.WriteFile(file, data, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(cannot, "config.json"), []byte(`{"model_type":"mixtrel"}`), 0o600))
	code, stdout, _ := benchtest.Call(t, Run, wrong, cannot)
	require.Equal(t, 1, code)
	require.Regexp(t, `^wrong WRONG: .*differs by .* of the largest\ncannot cannot: .*near it are mixtral\n0 ok, 1 wrong, 1 cannot\n$`, stdout)
}

func copyOf(t *testing.T, name string) string {
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.CopyFS(dir, os.DirFS(mixtral)))
	return dir
}

// TestChoicesThatAreTooFew for the tokens are a fault of the vectors.
func TestChoicesThatAreTooFew(t *testing.T) {
	dir := copyOf(t, "few")
	file := filepath.Join(dir, "golden.safetensors")
	from, err := safetensors.Open(file)
	require.NoError(t, err)
	var list []safetensors.Tensor
	for _, tensor := range from.Tensors() {
		if strings.Contains(tensor.Name, "topk_") {
			tensor.Shape = []int{5}
		}
		list = append(list, safetensors.Tensor{Name: tensor.Name, DType: tensor.DType, Shape: tensor.Shape})
	}
	plan, err := safetensors.NewPlan(nil, list)
	require.NoError(t, err)
	out, err := os.Create(file + ".new")
	require.NoError(t, err)
	w, err := safetensors.NewWriter(out, plan)
	require.NoError(t, err)
	for _, tensor := range plan.Tensors() {
		data := make([]byte, tensor.Bytes)
		require.NoError(t, from.ReadRange(tensor.Name, data, 0))
		require.NoError(t, w.Write(tensor.Name, data))
	}
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
	require.NoError(t, from.Close())
	require.NoError(t, os.Rename(file+".new", file))
	code, stdout, _ := benchtest.Call(t, Run, dir)
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "have 5 and 5 numbers for 12 tokens")
}
