package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/f32"
)

// TestRecord: the file has the tokens of the last step, the gradients, and the parameters with
// which that step was taken.
func TestRecord(t *testing.T) {
	clearLauncher(t)
	text, file := short(t), filepath.Join(t.TempDir(), "record")
	args := tiny("-text", text, "-ranks", "1", "-steps", "1", "-record", file)
	var out bytes.Buffer
	require.Zero(t, run(context.Background(), args, &out, &out), "%s", &out)

	o, err := parse(args, &out)
	require.NoError(t, err)
	whole, _, err := loadText(t.Context(), text, 1)
	require.NoError(t, err)
	before, err := newTrainer(t.Context(), aloneWorld(t), o, whole)
	require.NoError(t, err)

	f, err := safetensors.Open(file)
	require.NoError(t, err)
	defer f.Close()
	read := func(name string, shape ...int) []float32 {
		at, ok := f.Lookup(name)
		require.True(t, ok, name)
		require.Equal(t, shape, at.Shape, name)
		bytes := make([]byte, at.Bytes)
		_, err := f.ReadInto(name, bytes)
		require.NoError(t, err)
		values := make([]float32, len(bytes)/4)
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*i:]))
		}
		return values
	}
	require.Equal(t, "2", f.Metadata()["topk"])
	for i, block := range []string{"block1", "block3"} {
		x := read(block+".input", 64, 8)
		require.InDelta(t, 64*8, f32.Dot(x, x), 10, "layer norm")
		dy := read(block+".gradient", 64, 8)
		require.Positive(t, f32.Dot(dy, dy))
		require.True(t, f32.Finite(dy))
		params, err := before.layers[i].Parameters(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, params)
		for _, p := range params {
			require.Equal(t, p.Data, read(block+"."+p.Name, p.Shape...), p.Name)
		}
	}
}

// TestRecordOfSteps: the tokens are those of all steps in which nothing is learned.
func TestRecordOfSteps(t *testing.T) {
	clearLauncher(t)
	for rate, tokens := range map[string]int{"0": 3 * 64, "0.1": 64} {
		file := filepath.Join(t.TempDir(), "record")
		var out bytes.Buffer
		require.Zero(t, run(t.Context(), tiny("-text", short(t), "-ranks", "1", "-lr", rate, "-record", file), &out, &out), "%s", &out)
		f, err := safetensors.Open(file)
		require.NoError(t, err)
		for _, name := range []string{"block1.input", "block3.gradient"} {
			at, _ := f.Lookup(name)
			require.Equal(t, []int{tokens, 8}, at.Shape)
		}
		require.NoError(t, f.Close())
	}
}

// TestRecordOfNoStep says that there is none.
func TestRecordOfNoStep(t *testing.T) {
	clearLauncher(t)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "record")
	flags := tiny("-text", short(t), "-ranks", "1", "-save", dir, "-resume", dir)
	var out bytes.Buffer
	require.Zero(t, run(t.Context(), flags, &out, &out), "%s", &out)
	require.NotZero(t, run(t.Context(), append(flags, "-record", file), &out, &out))
	require.Contains(t, out.String(), "-record: there is nothing to record, as no step was left to take")
	require.NoFileExists(t, file)
}

func TestRecordGoesWithOneRank(t *testing.T) {
	for _, more := range [][]string{{"-ranks", "2"}, {"-ranks", "1", "-micro", "2"}, {"-ranks", "1", "-router", "hash"}, {"-ranks", "1", "-no-experts"}} {
		_, err := parse(tiny(append(more, "-record", "x")...), nil)
		require.ErrorContains(t, err, "-record x")
	}
}
