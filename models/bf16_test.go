package models_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/models"
)

// narrow writes a checkpoint whose numbers are the upper halves of those of a golden one.
func narrow(t *testing.T, name string, to safetensors.DType) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(goldens, name))))
	path := filepath.Join(dir, "model.safetensors")
	from, err := safetensors.Open(filepath.Join(goldens, name, "model.safetensors"))
	require.NoError(t, err)
	var list []safetensors.Tensor
	for _, tensor := range from.Tensors() {
		list = append(list, safetensors.Tensor{Name: tensor.Name, DType: to, Shape: tensor.Shape})
	}
	plan, err := safetensors.NewPlan(nil, list)
	require.NoError(t, err)
	out, err := os.Create(path)
	require.NoError(t, err)
	w, err := safetensors.NewWriter(out, plan)
	require.NoError(t, err)
	for _, tensor := range plan.Tensors() {
		wide := make([]byte, 2*tensor.Bytes)
		_, err := from.ReadInto(tensor.Name, wide)
		require.NoError(t, err)
		data := make([]byte, 0, tensor.Bytes)
		for i := 0; i < len(wide); i += 4 {
			data = append(data, wide[i+2], wide[i+3])
		}
		require.NoError(t, w.Write(tensor.Name, data))
	}
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
	require.NoError(t, from.Close())
	return dir
}

// TestBF16: numbers of bf16 are widened exactly, keep their bytes when they are saved unchanged,
// and are rounded to the nearest otherwise.
func TestBF16(t *testing.T) {
	dir := narrow(t, "mixtral", safetensors.BF16)
	m, err := models.Open(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	wide, err := open(t, "mixtral")
	require.NoError(t, err)
	list, exact := parameters(t, m, 0), parameters(t, wide, 0)
	for i, tensor := range list {
		for j, v := range tensor.Data {
			require.InEpsilon(t, exact[i].Data[j], v, 1.0/128, "%s %d", tensor.Name, j)
		}
	}
	same := filepath.Join(t.TempDir(), "same")
	require.NoError(t, m.Save(same, map[int][]switchyard.Tensor{0: list}))
	before, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	after, err := os.ReadFile(filepath.Join(same, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	list[0].Data[0] = 1 + 1.0/128 + 1.0/256 // between two numbers, of which the one above is even
	rounded := filepath.Join(t.TempDir(), "rounded")
	require.NoError(t, m.Save(rounded, map[int][]switchyard.Tensor{0: list}))
	again, err := models.Open(rounded)
	require.NoError(t, err)
	require.Equal(t, float32(1+1.0/64), parameters(t, again, 0)[0].Data[0])
	require.NoError(t, again.Close())
}

// TestOtherTypes: numbers of a type that is not read are an error.
func TestOtherTypes(t *testing.T) {
	_, err := models.Open(narrow(t, "mixtral", safetensors.F16))
	require.ErrorIs(t, err, models.ErrUnsupported)
	require.ErrorContains(t, err, "F16")
}
