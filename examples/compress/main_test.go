package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTrainsAndDraws runs all of it on a model that is trained within a second.
func TestTrainsAndDraws(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs examples/train")
	}
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, make([]byte, 4000), 0o600))
	o := options{link: 1000, steps: 2, rate: 0.2, svg: filepath.Join(t.TempDir(), "out.svg"),
		more: "-ranks 2 -dim 8 -heads 2 -layers 2 -hidden 8 -expert-hidden 8 -seq 8 -batch 4 -groups 4 -text " + text}
	require.NoError(t, o.run(t.Context()))
	drawn, err := os.ReadFile(o.svg)
	require.NoError(t, err)
	require.Contains(t, string(drawn), "MB sent")
}

func TestRefusesWhatMakesNoSense(t *testing.T) {
	o := options{link: 0, steps: 1, rate: 2}
	require.ErrorContains(t, o.run(t.Context()), "-link 0 -steps 1 -rate 2")
	require.ErrorContains(t, extra([]string{"more", "-steps", "1"}), `unexpected argument "more"`)
	require.NoError(t, extra(nil))
}
