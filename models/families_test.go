package models_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/models"
)

// open opens a copy of a checkpoint whose config.json has been changed.
func open(t *testing.T, name string, changes ...string) (*models.Model, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(goldens, name))))
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, string(text), changes[i])
		text = []byte(strings.Replace(string(text), changes[i], changes[i+1], 1))
	}
	require.NoError(t, os.WriteFile(path, text, 0o600))
	m, err := models.Open(dir)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, m.Close()) })
	}
	return m, err
}

// TestUnsupported: what a family needs and the library lacks is an error of its own.
func TestUnsupported(t *testing.T) {
	for _, c := range [][3]string{
		{`"mixtral"`, `"mixtrel"`, "near it are mixtral"},
		{`"mixtral"`, `"some other model altogether"`, "model_type"},
		{`"silu"`, `"gelu"`, `hidden_act "gelu"`},
	} {
		_, err := open(t, "mixtral", c[0], c[1])
		require.ErrorIs(t, err, models.ErrUnsupported)
		require.ErrorContains(t, err, c[2])
	}
}

// TestConfigFaults: values that cannot be are errors that name the key.
func TestConfigFaults(t *testing.T) {
	for _, c := range [][3]string{
		{`"num_local_experts": 8`, `"num_local_experts": 9`, `gate.weight" is [8 32], want [9 32]`},
		{`"num_local_experts": 8`, `"num_local_experts": 0`, "num_local_experts"},
		{`"num_local_experts": 8`, `"num_local_experts": "x"`, "want a whole number"},
		{`"num_local_experts": 8`, `"num_local_experts": 99999999999`, "num_local_experts"},
		{`"num_hidden_layers": 2`, `"num_hidden_layers": 999999`, "999999 layers"},
		{`"num_hidden_layers": 2`, `"num_hidden_layers": 3`, "layer 2"},
		{`"intermediate_size": 20`, `"intermediate_size": 21`, "want [21 32]"},
		{`"intermediate_size": 20`, `"intermediate": 20`, "intermediate_size is missing"},
	} {
		_, err := open(t, "mixtral", c[0], c[1])
		require.ErrorContains(t, err, c[2])
		require.NotErrorIs(t, err, models.ErrUnsupported)
	}
}

// TestDenseLayers: the rules of layers without experts.
func TestDenseLayers(t *testing.T) {
	for name, want := range map[string][]int{"deepseek_v3": {1}, "jamba": {1}, "ernie4_5_moe": {1}, "mixtral": {0, 1}} {
		m, err := open(t, name)
		require.NoError(t, err)
		var got []int
		for _, b := range m.Blocks {
			got = append(got, b.Layer)
		}
		require.Equal(t, want, got, name)
	}
}
