package checkpoint_test

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
)

var python = flag.String("python", "", "a Python that has safetensors and numpy; with it TestRates runs")

// reader prints, of each tensor that the indexes of a folder list, its name, type, shape, and the
// value that all of its elements have.
const reader = `
import json, sys
from safetensors import safe_open
for role in ["model", "training"]:
    index = json.load(open(f"{sys.argv[1]}/{role}.safetensors.index.json"))
    assert index["metadata"]["total_size"] == 1200, index["metadata"]
    for name, file in sorted(index["weight_map"].items()):
        with safe_open(f"{sys.argv[1]}/{file}", "np") as f:
            assert f.metadata()["format"] == "pt", f.metadata()
            t = f.get_tensor(name)
            assert (t == t[0, 0]).all()
            print(name, t.dtype, t.shape, t[0, 0])
`

// TestPythonReadsACheckpoint, as it is on the disk, where Python has safetensors.
func TestPythonReadsACheckpoint(t *testing.T) {
	interpreter := *python
	if interpreter == "" {
		interpreter = "python3"
	}
	if err := exec.Command(interpreter, "-c", "import safetensors.numpy").Run(); err != nil {
		t.Skipf("%s has no safetensors with numpy: %v", interpreter, err)
	}
	m, l := rows()
	dir := t.TempDir()
	requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: dir, Metadata: map[string]string{"k": "v"}}, m.part(l, rank, false), 1)
	}))
	out, err := exec.Command(interpreter, "-c", reader, filepath.Join(dir, "step-00000001")).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, []string{
		"m.parameter.a float32 (25, 4) 0.0", "m.parameter.b float32 (25, 4) 10.0", "m.parameter.c float32 (25, 4) 20.0",
		"m.training.a float32 (25, 4) 1.0", "m.training.b float32 (25, 4) 11.0", "m.training.c float32 (25, 4) 21.0",
	}, strings.Split(strings.TrimSpace(string(out)), "\n"))
}
