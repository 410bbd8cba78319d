package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/docscmd"
)

// TestCommandsOfTheDocs have flags that there are, with values that they can have.
func TestCommandsOfTheDocs(t *testing.T) {
	lines, err := docscmd.Of("../..", "go run ./examples/train")
	require.NoError(t, err)
	require.NotEmpty(t, lines)
	for _, args := range lines {
		for i, arg := range args {
			args[i] = strings.NewReplacer("$r", "1", "NAME", "topk", "mpi", "tcp").Replace(arg)
		}
		_, err := parse(args, io.Discard)
		require.NotErrorIs(t, err, flag.ErrHelp)
		require.NoError(t, err, "%v", args)
	}
}
