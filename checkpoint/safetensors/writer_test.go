package safetensors_test

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// TestWritesTheBytesOfTheReference writes again what the reference implementation has written.
func TestWritesTheBytesOfTheReference(t *testing.T) {
	seen := 0
	for _, v := range readVectors[vector](t, "cases.json") {
		if !v.Valid || v.MadeBy == "bytes" {
			continue
		}
		seen++
		t.Run(v.File, func(t *testing.T) {
			path := filepath.Join(vectors, v.File)
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			f, err := safetensors.NewFile(bytes.NewReader(want), int64(len(want)))
			require.NoError(t, err)
			require.Equal(t, hex.Dump(want), hex.Dump(copied(t, f)))
		})
	}
	require.Equal(t, 11, seen)
}

// copied writes what f holds.
func copied(t testing.TB, f *safetensors.File) []byte {
	var out bytes.Buffer
	plan, err := safetensors.NewPlan(f.Metadata(), f.Tensors())
	require.NoError(t, err)
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	for _, x := range plan.Tensors() {
		data := make([]byte, x.Bytes)
		crc, err := f.ReadInto(x.Name, data)
		require.NoError(t, err)
		require.NoError(t, w.Write(x.Name, data))
		written, ok := w.Checksum(x.Name)
		require.True(t, ok)
		require.Equal(t, crc, written)
		require.Equal(t, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)), crc)
	}
	require.NoError(t, w.Close())
	require.EqualValues(t, plan.Size(), out.Len())
	return out.Bytes()
}
