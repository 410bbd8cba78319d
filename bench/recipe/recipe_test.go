package recipe

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func TestOptions(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, harness.Misused, Run(t.Context(), []string{"-experts", "15"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "multiple of -ranks 4")
	stderr.Reset()
	require.Equal(t, harness.Misused, Run(t.Context(), []string{"-k", "0", "-transport", "pigeon"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "-k 0")
	require.Contains(t, stderr.String(), `"pigeon"`)
	require.Equal(t, 0, Run(t.Context(), []string{"-h"}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "index_add")
}
