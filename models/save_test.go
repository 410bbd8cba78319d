package models_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/models"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// parameters returns all parameters of a block's layer.
func parameters(t *testing.T, m *models.Model, block int) []switchyard.Tensor {
	t.Helper()
	w := switchyard.NewWorld(inproc.New(1)[0])
	defer func() { require.NoError(t, w.Close()) }()
	layer, err := switchyard.NewLayer(w, m.Config(block))
	require.NoError(t, err)
	list, err := layer.Parameters(context.Background())
	require.NoError(t, err)
	return list
}

// TestSave saves each layout: unchanged parameters give the same bytes, one changed number is the
// only one that differs.
func TestSave(t *testing.T) {
	for _, name := range []string{"mixtral", "gpt_oss", "dbrx", "granitemoeshared", "aria", "deepseek_v3", "qwen2_moe", "step3p7"} {
		m, err := open(t, name)
		require.NoError(t, err)
		original, err := os.ReadFile(filepath.Join(goldens, name, "model.safetensors"))
		require.NoError(t, err)
		list := parameters(t, m, 0)
		same, changed := filepath.Join(t.TempDir(), "same"), filepath.Join(t.TempDir(), "changed")
		require.NoError(t, m.Save(same, map[int][]switchyard.Tensor{0: list}))
		saved, err := os.ReadFile(filepath.Join(same, "model.safetensors"))
		require.NoError(t, err)
		require.Equal(t, original, saved, name)
		for i := range list {
			list[i].Data[len(list[i].Data)-1] = 1.5
		}
		require.NoError(t, m.Save(changed, map[int][]switchyard.Tensor{0: list}))
		saved, err = os.ReadFile(filepath.Join(changed, "model.safetensors"))
		require.NoError(t, err)
		differ := 0
		for i := 0; i < len(saved); i++ {
			if saved[i] != original[i] {
				differ++
			}
		}
		require.Positive(t, differ)
		require.LessOrEqual(t, differ, 4*len(list), name)
		again, err := models.Open(changed)
		require.NoError(t, err)
		require.Equal(t, list, parameters(t, again, 0), name)
		require.NoError(t, again.Close())
	}
}

// TestSaveFaults: a fault leaves nothing behind.
func TestSaveFaults(t *testing.T) {
	m, err := open(t, "mixtral")
	require.NoError(t, err)
	list := parameters(t, m, 0)
	parent := t.TempDir()
	dir := filepath.Join(parent, "saved")
	for says, layers := range map[string]map[int][]switchyard.Tensor{
		"block 9 of 2":         {9: list},
		"element 1 is NaN":     {0: {{Name: "gate.gate", Data: []float32{0, float32(math.NaN())}}}},
		"too few":              {0: {{Name: "gate.gate", Data: []float32{0}}}},
		"a place for 0":        {0: {{Name: "compression.gain", Data: []float32{0}}}},
		"a place for 256":      {0: {{Name: "gate.gate", Data: make([]float32, 257)}}},
		"balance.bias has 8 n": {0: {{Name: "balance.bias", Data: make([]float32, 8)}}},
	} {
		require.ErrorContains(t, m.Save(dir, layers), says)
		left, err := os.ReadDir(parent)
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.ErrorContains(t, m.Save(parent, nil), "exists")
	_, err = m.Tensors(2, list)
	require.EqualError(t, err, "models: Tensors: block 2 of 2")
}
