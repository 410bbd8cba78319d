package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/docscmd"
)

// TestCommandsOfTheDocs are commands and flags that there are. (-h comes last, so that what is
// before it has been read.)
func TestCommandsOfTheDocs(t *testing.T) {
	lines, err := docscmd.Of("..", "go run ./bench")
	require.NoError(t, err)
	for _, args := range lines {
		if args[0] == "goldens" || strings.HasPrefix(args[0], "<") {
			continue // which takes files
		}
		var stdout, stderr bytes.Buffer
		require.Zero(t, run(t.Context(), append(args, "-h"), &stdout, &stderr), "%v: %s", args, &stderr)
	}
}
