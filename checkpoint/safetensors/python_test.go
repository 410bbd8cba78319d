package safetensors_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// script opens the file argv[1] with Python's safetensors, prints what it finds there as a vector,
// and saves the tensors that numpy knows to argv[2].
const script = `
import json, sys
import numpy
from safetensors import deserialize, safe_open
from safetensors.numpy import save_file

with safe_open(sys.argv[1], "numpy") as f:
    metadata, keys = f.metadata(), f.offset_keys()
    known = {k: f.get_tensor(k) for k in f.keys() if f.get_slice(k).get_dtype() in ("BOOL", "U8", "I16", "F16", "F32", "F64", "I64", "C64")}
tensors = [[k, v["dtype"], v["shape"], bytes(v["data"]).hex()] for k, v in deserialize(open(sys.argv[1], "rb").read())]
print(json.dumps({"valid": True, "tensors": tensors, "metadata": metadata, "offset_keys": keys, "known": {k: v.tolist() for k, v in known.items() if v.dtype == numpy.float32}}))
save_file(known, sys.argv[2], metadata)
`

// python runs script, or skips the test where Python has no safetensors.
func python(t *testing.T, args ...string) []byte {
	if err := exec.Command("python3", "-c", "import numpy, safetensors").Run(); err != nil {
		t.Skip("python3 has no numpy and safetensors:", err)
	}
	out, err := exec.Command("python3", append([]string{"-c", script}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return out
}

// TestPythonOpensOurFiles unchanged, with the same values, and we open those that Python saves.
func TestPythonOpensOurFiles(t *testing.T) {
	ours, theirs := filepath.Join(t.TempDir(), "ours.safetensors"), filepath.Join(t.TempDir(), "theirs.safetensors")
	writeAllTypes(t, ours)
	var v struct {
		vector
		Known map[string][][]float32
	}
	require.NoError(t, json.Unmarshal(python(t, ours, theirs), &v))
	require.Equal(t, [][]float32{{1, -2.5, 0}}, v.Known["f32"])
	f, err := safetensors.Open(ours)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	checkTensors(t, v.vector, f)
	g, err := safetensors.Open(theirs)
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	require.Equal(t, f.Metadata(), g.Metadata())
	require.Len(t, g.Tensors(), 11)
	for _, x := range g.Tensors() {
		want, err := f.Checksum(x.Name)
		require.NoError(t, err)
		got, err := g.Checksum(x.Name)
		require.NoError(t, err)
		require.Equal(t, want, got, x.Name)
	}
	saved, err := os.ReadFile(theirs)
	require.NoError(t, err)
	require.Equal(t, saved, copied(t, g))
}

// writeAllTypes writes a tensor of each type, named for it, one more in float32, a scalar, and a
// name that needs escapes. The bytes of all but the float32 are 0 and 1.
func writeAllTypes(t *testing.T, path string) {
	tensors := []safetensors.Tensor{
		{Name: "f32", DType: safetensors.F32, Shape: []int{1, 3}},
		{Name: "scalar", DType: safetensors.I64},
		{Name: "\"\\\n\x01\x7f/ä😀\u2028", DType: safetensors.F64, Shape: []int{0, 7}},
	}
	for i, name := range allTypes {
		tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.DType(i + 1), Shape: []int{2, 4}})
	}
	plan, err := safetensors.NewPlan(map[string]string{"format": "pt"}, tensors)
	require.NoError(t, err)
	out, err := os.Create(path)
	require.NoError(t, err)
	w, err := safetensors.NewWriter(out, plan)
	require.NoError(t, err)
	for _, x := range plan.Tensors() {
		data := bytes.Repeat([]byte{0, 1}, int(x.Bytes+1)/2)[:x.Bytes]
		if x.Name == "f32" {
			data = []byte{0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0, 0}
		}
		require.NoError(t, w.Write(x.Name, data))
	}
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
}
