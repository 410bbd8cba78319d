package main

import (
	"bytes"
	"context"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSharesCoverLeaves(t *testing.T) {
	for leaves := 1; leaves <= 9; leaves++ {
		for ranks := 1; ranks <= 11; ranks++ {
			next := 0
			for r := range ranks {
				s := shareOf(leaves, ranks, r)
				require.Equal(t, next, s.first)
				require.LessOrEqual(t, s.count, shareOf(leaves, ranks, 0).count)
				next += s.count
			}
			require.Equal(t, leaves, next)
		}
	}
	require.Equal(t, []share{{0, 3}, {3, 3}, {6, 2}}, []share{shareOf(8, 3, 0), shareOf(8, 3, 1), shareOf(8, 3, 2)})
}

func testOptions() options {
	return options{batch: 4, groups: 2, micro: 1, seq: 5, seed: 9}
}

func TestRanksShareOneBatch(t *testing.T) {
	text := generate(3, 2000)
	whole := &dataset{train: text, held: text, options: testOptions(), share: shareOf(2, 1, 0)}
	var inputs, targets []byte
	for r := range 3 {
		d := &dataset{train: text, options: testOptions(), share: shareOf(2, 3, r)}
		b := d.trainBatches(7)[0]
		require.Equal(t, 20, b.GlobalTokens)
		inputs, targets = append(inputs, b.Inputs...), append(targets, b.Targets...)
	}
	b := whole.trainBatches(7)[0]
	require.Equal(t, b.Inputs, inputs)
	require.Equal(t, b.Targets, targets)
	require.Equal(t, b.Inputs[1:5], b.Targets[:4])
	require.NotEqual(t, inputs, whole.trainBatches(8)[0].Inputs)
}

func TestHeldOutBatchesCoverTheText(t *testing.T) {
	held := generate(3, 20*7+13)
	d := &dataset{held: held, options: testOptions(), share: shareOf(2, 1, 0)}
	require.Equal(t, 7, d.heldBatches())
	var inputs, targets []byte
	for i := range 7 {
		b := d.heldBatch(i, 7)
		inputs, targets = append(inputs, b.Inputs...), append(targets, b.Targets...)
	}
	require.Equal(t, held[:140], inputs)
	require.Equal(t, held[1:141], targets)
	require.NotEqual(t, held[:20], d.heldBatch(0, 2).Inputs, "a part is spread over the whole")
}

func TestSplitNeedsABatch(t *testing.T) {
	o := testOptions()
	train, held, err := split(generate(1, 210), o)
	require.NoError(t, err)
	require.Len(t, train, 189)
	require.Len(t, held, 21)
	_, _, err = split(generate(1, 200), o)
	require.ErrorContains(t, err, "must have 210")
}

func TestPromptIsAParagraph(t *testing.T) {
	start := strings.Repeat("x", 48)
	d := &dataset{held: []byte("the end\n\n" + start + "beyond")}
	require.Equal(t, start, string(d.prompt()))
	d.held = []byte("no paragraph")
	require.Equal(t, "no paragraph", string(d.prompt()))
}

func TestLoadText(t *testing.T) {
	path := t.TempDir() + "/a"
	require.NoError(t, os.WriteFile(path, []byte("hello"), 0o600))
	text, source, err := loadText(context.Background(), path, 1)
	require.NoError(t, err)
	require.Equal(t, "hello", string(text))
	require.Equal(t, path, source)

	t.Setenv("GOROOT", t.TempDir())
	t.Setenv("PATH", "")
	text, source, err = loadText(context.Background(), "", 1)
	require.NoError(t, err)
	require.Contains(t, source, "generated")
	require.Len(t, text, generatedBytes)
}

func TestGeneratedText(t *testing.T) {
	text := generate(5, 5000)
	require.Equal(t, text, generate(5, 5000))
	require.NotEqual(t, text, generate(6, 5000))
	for symbol := range grammar {
		require.NotContains(t, string(text), symbol, "every symbol is replaced")
	}
}

func TestBigram(t *testing.T) {
	b := newBigram([]byte("abababac"))
	require.InDelta(t, -math.Log(float64(3+1)/float64(4+256)), b.loss('a', 'b'), 1e-12)
	require.InDelta(t, math.Log(256), b.loss('z', 'a'), 1e-12)

	d := &dataset{train: []byte("abababac"), held: bytes.Repeat([]byte("ab"), 11), options: testOptions()}
	want := 0.0
	for i := range 20 {
		want += b.loss(d.held[i], d.held[i+1]) / 20
	}
	require.InDelta(t, want, b.heldOutLoss(d), 1e-12)
}

func TestRate(t *testing.T) {
	o := options{lr: 1, warmup: 9, steps: 109}
	require.InDelta(t, 0.1, o.rate(0), 1e-6)
	require.InDelta(t, 1, o.rate(9), 1e-6)
	require.InDelta(t, 0.55, o.rate(59), 1e-6)
	require.InDelta(t, 0.1, o.rate(109), 1e-6)
	var rates []float32
	for n := 9; n < 109; n++ {
		rates = append(rates, -o.rate(n))
	}
	require.True(t, slices.IsSorted(rates), "it falls all the way")
	require.Positive(t, options{lr: 1, warmup: 5, steps: 3}.rate(2))
}
