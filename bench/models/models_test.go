package models

import (
	"bytes"
	"os"
	"path/filepath"
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
