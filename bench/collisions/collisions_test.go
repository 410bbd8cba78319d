package collisions

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func Test(t *testing.T) {
	var stdout, stderr bytes.Buffer
	svg := t.TempDir() + "/c.svg"
	require.Equal(t, 0, Run(t.Context(), []string{"-seeds", "1", "-dim", "16", "-svg", svg}, &stdout, &stderr), stderr.String())
	require.Contains(t, stdout.String(), "cross-polytope      8      0  1.0000    1.0000")
	require.FileExists(t, svg)
	require.Equal(t, harness.Misused, Run(t.Context(), []string{"-dim", "1"}, &stdout, &stderr))
}
