package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestARateOf0 leaves every parameter as it was drawn, however many steps there are.
func TestARateOf0(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	_, one := trainTiny(t, "-lr", "0", "-steps", "1", "-ranks", "1", "-text", text)
	_, three := trainTiny(t, "-lr", "0", "-steps", "3", "-ranks", "2", "-text", text)
	_, moved := trainTiny(t, "-steps", "3", "-ranks", "2", "-text", text)
	require.Equal(t, one.ParamSHA256, three.ParamSHA256)
	require.NotEqual(t, one.ParamSHA256, moved.ParamSHA256)
}
