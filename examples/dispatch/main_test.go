package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestProgram(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(nil, &stdout, &stderr), stderr.String())
	require.Contains(t, stdout.String(), "have the bits of switchyard.Layer\n")
	require.Empty(t, stderr.String())
	require.Zero(t, run([]string{"-h"}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "usage: go run ./examples/dispatch")
	require.Empty(t, stderr.String())
	require.Equal(t, 2, run([]string{"-x"}, &stdout, &stderr))
	require.Equal(t, 2, run([]string{"x"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), `unexpected argument "x"`)
}

// TestTheStepIsShort: what a program writes for a step of its own is at most 25 lines.
func TestTheStepIsShort(t *testing.T) {
	source, err := os.ReadFile("step.go")
	require.NoError(t, err)
	_, step, found := strings.Cut(string(source), "// begin\n")
	require.True(t, found)
	step, _, found = strings.Cut(step, "\t// end\n")
	require.True(t, found)
	require.LessOrEqual(t, strings.Count(step, "\n"), 25)
}
