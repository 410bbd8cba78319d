package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStopAfter ends training early, with the learning rates of all steps.
func TestStopAfter(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	out, got := trainTiny(t, "-ranks", "2", "-text", text, "-steps", "5", "-stop-after", "3")
	require.Equal(t, 3, got.Steps)
	require.Equal(t, 3, got.Course[len(got.Course)-1].Step)
	require.Contains(t, out, "trained 3 steps")
	_, fewer := trainTiny(t, "-ranks", "2", "-text", text, "-steps", "3")
	require.NotEqual(t, fewer.ParamSHA256, got.ParamSHA256, "its learning rate falls faster")
	_, all := trainTiny(t, "-ranks", "2", "-text", text, "-steps", "3", "-stop-after", "3")
	require.Equal(t, fewer.ParamSHA256, all.ParamSHA256)
	_, err := parse([]string{"-steps", "3", "-stop-after", "4"}, new(bytes.Buffer))
	require.ErrorContains(t, err, "-stop-after 4: must be at most -steps 3")
}

// TestOptimizers give bits of their own, the same on any number of ranks.
func TestOptimizers(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	seen := map[string]bool{}
	choices := [][]string{{"-optimizer", "sgd"}, {"-moments", "fp8"}, {"-optimizer", "adamw"}, {"-optimizer", "sgd", "-momentum", "0.5"},
		{"-moments", "int4"}, {"-moments", "fp8", "-optimizer", "sgd"}}
	if testing.Short() {
		choices = choices[:2]
	}
	for _, flags := range choices {
		_, one := trainTiny(t, append(flags, "-ranks", "1", "-text", text)...)
		o, err := parse(flags, new(bytes.Buffer))
		require.NoError(t, err)
		require.Greater(t, one.MomentBytes, int(o.momentBytes(one.Parameters))-1, "small tensors take more")
		_, three := trainTiny(t, append(flags, "-ranks", "3", "-text", text)...)
		require.Equal(t, one.ParamSHA256, three.ParamSHA256)
		require.False(t, seen[one.ParamSHA256])
		seen[one.ParamSHA256] = true
	}
}

// TestClip: a bound on the norm of the gradients gives the same bits on any number of ranks, and
// one that is never reached changes nothing.
func TestClip(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	kinds := [][]string{{"-optimizer", "sgd", "-micro", "2"}, nil, {"-overlap", "2"}}
	if testing.Short() {
		kinds = kinds[:1]
	}
	for _, more := range kinds {
		flags := append([]string{"-text", text}, more...)
		_, free := trainTiny(t, concat(flags, "-ranks", "2")...)
		_, wide := trainTiny(t, concat(flags, "-ranks", "2", "-clip", "1000")...)
		require.Equal(t, free.ParamSHA256, wide.ParamSHA256)
		_, one := trainTiny(t, concat(flags, "-ranks", "1", "-clip", "0.1")...)
		require.NotEqual(t, free.ParamSHA256, one.ParamSHA256)
		for _, ranks := range []string{"3", "8"} {
			_, got := trainTiny(t, concat(flags, "-ranks", ranks, "-clip", "0.1")...)
			require.Equal(t, one.ParamSHA256, got.ParamSHA256, "%s ranks", ranks)
		}
	}
}

// TestSettingsNameChoices: ranks that were started with another choice are told apart.
func TestSettingsNameChoices(t *testing.T) {
	o, err := parse([]string{"-router", "sinkhorn"}, new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, "sinkhorn", o.settings["router"])
	require.Equal(t, "adamw", o.settings["optimizer"])
}
