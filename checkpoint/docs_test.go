package checkpoint_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

// TestPythonOfTheDocs runs the program of docs/checkpoints.md on a checkpoint.
func TestPythonOfTheDocs(t *testing.T) {
	if err := exec.Command("python3", "-c", "import numpy, safetensors").Run(); err != nil {
		t.Skip("python3 has no numpy and safetensors:", err)
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "checkpoints.md"))
	require.NoError(t, err)
	program := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, program)
	dir := saved(t,
		param.Entry{Name: "experts.0.w_up", Shape: []int{2, 3}, Data: make([]float32, 6), Writer: true},
		param.Entry{Name: "gate.gate", Shape: []int{2, 4}, Data: make([]float32, 8), Writer: true},
		param.Entry{Name: "counters.steps", Role: param.Training, Data: []int64{3}, Writer: true})
	last, err := checkpoint.Latest(dir)
	require.NoError(t, err)
	out, err := exec.Command("python3", "-c", string(program[1]), last.Path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "step 5\nexperts.0.w_up (2, 3)\ngate.gate (2, 4)\n", string(out))
}
