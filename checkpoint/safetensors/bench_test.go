package safetensors_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// 64 tensors of 4 MiB, as the experts of a rank.
const (
	benchTensors = 64
	benchBytes   = 4 << 20
)

func benchPlan(b *testing.B) *safetensors.Plan {
	tensors := make([]safetensors.Tensor, benchTensors)
	for i := range tensors {
		tensors[i] = safetensors.Tensor{Name: fmt.Sprintf("experts.%d.w", i), DType: safetensors.F32, Shape: []int{1024, benchBytes / 4096}}
	}
	plan, err := safetensors.NewPlan(nil, tensors)
	require.NoError(b, err)
	return plan
}

func benchWrite(b *testing.B, path string, plan *safetensors.Plan, data []byte) {
	out, err := os.Create(path)
	require.NoError(b, err)
	w, err := safetensors.NewWriter(out, plan)
	require.NoError(b, err)
	for _, x := range plan.Tensors() {
		require.NoError(b, w.Write(x.Name, data))
	}
	require.NoError(b, w.Close())
	require.NoError(b, out.Close())
}

// BenchmarkWrite writes files into the page cache.
func BenchmarkWrite(b *testing.B) {
	plan, data, path := benchPlan(b), make([]byte, benchBytes), filepath.Join(b.TempDir(), "f")
	b.SetBytes(benchTensors * benchBytes)
	for b.Loop() {
		benchWrite(b, path, plan, data)
	}
}

// BenchmarkRead reads files from the page cache.
func BenchmarkRead(b *testing.B) {
	plan, data, path := benchPlan(b), make([]byte, benchBytes), filepath.Join(b.TempDir(), "f")
	benchWrite(b, path, plan, data)
	b.SetBytes(benchTensors * benchBytes)
	for b.Loop() {
		f, err := safetensors.Open(path)
		require.NoError(b, err)
		for _, x := range f.Tensors() {
			_, err := f.ReadInto(x.Name, data)
			require.NoError(b, err)
		}
		require.NoError(b, f.Close())
	}
}

// BenchmarkHeader parses the header of 10,000 experts' tensors.
func BenchmarkHeader(b *testing.B) {
	tensors := make([]safetensors.Tensor, 10000)
	for i := range tensors {
		tensors[i] = safetensors.Tensor{Name: fmt.Sprintf("model.layers.%d.mlp.experts.%d.up_proj.weight", i/128, i%128), DType: safetensors.BF16, Shape: []int{0, 1024}}
	}
	plan, err := safetensors.NewPlan(nil, tensors)
	require.NoError(b, err)
	path := filepath.Join(b.TempDir(), "f")
	out, err := os.Create(path)
	require.NoError(b, err)
	w, err := safetensors.NewWriter(out, plan)
	require.NoError(b, err)
	require.NoError(b, w.Close())
	require.NoError(b, out.Close())
	b.SetBytes(plan.Size())
	b.ReportAllocs()
	for b.Loop() {
		f, err := safetensors.Open(path)
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
}
