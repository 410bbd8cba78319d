package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// maskedData are batches of masked bytes; no byte of the text is the one that masks.
func maskedData(ranks, rank int) *dataset {
	o := testOptions()
	o.objective, o.seq = maskedObjective, 20
	text := generate(3, 4000)
	return &dataset{train: text, held: text, options: o, share: shareOf(o.groups, ranks, rank)}
}

func TestMaskedBatches(t *testing.T) {
	b := maskedData(1, 0).trainBatches(7)[0]
	require.Len(t, b.Inputs, 80)
	masked := 0
	for i, scored := range b.Scored {
		require.NotEqual(t, byte(maskByte), b.Targets[i])
		if scored {
			masked++
			require.Equal(t, byte(maskByte), b.Inputs[i])
		} else {
			require.Equal(t, b.Targets[i], b.Inputs[i])
		}
	}
	require.Equal(t, masked, b.GlobalTokens)
	require.Less(t, masked, 40)
	for i := range 4 {
		require.Contains(t, b.Scored[i*20:(i+1)*20], true, "one at least of a sequence")
	}
	require.NotEqual(t, b.Scored, maskedData(1, 0).trainBatches(8)[0].Scored)
}

// TestRanksShareMasks: each rank has its part of what one alone has, and they divide by the same.
func TestRanksShareMasks(t *testing.T) {
	whole := maskedData(1, 0)
	for _, held := range []bool{false, true} {
		want := whole.trainBatches(3)[0]
		if held {
			want = whole.heldBatch(1, 3)
		}
		var inputs, targets []byte
		var scored []bool
		for r := range 3 {
			d := maskedData(3, r)
			b := d.trainBatches(3)[0]
			if held {
				b = d.heldBatch(1, 3)
			}
			require.Equal(t, want.GlobalTokens, b.GlobalTokens)
			inputs, targets, scored = append(inputs, b.Inputs...), append(targets, b.Targets...), append(scored, b.Scored...)
		}
		require.Equal(t, want.Inputs, inputs)
		require.Equal(t, want.Targets, targets)
		require.Equal(t, want.Scored, scored)
	}
}

// TestHeldMasksAreFixed: neither the seed nor the size of batches changes them.
func TestHeldMasksAreFixed(t *testing.T) {
	want := maskedData(1, 0).heldBatch(0, 50)
	d := maskedData(1, 0)
	d.options.seed, d.options.batch = 77, 2
	got := d.heldBatch(0, 100)
	require.Equal(t, want.Inputs[:40], got.Inputs)
	require.Equal(t, want.Scored[:40], got.Scored)
}

func TestMicroBatchesOfMasks(t *testing.T) {
	d := maskedData(1, 0)
	want := d.trainBatches(2)[0]
	d.options.micro = 2
	for i, b := range d.trainBatches(2) {
		require.Equal(t, want.Scored[i*40:(i+1)*40], b.Scored)
		require.Equal(t, want.GlobalTokens, b.GlobalTokens)
	}
}

// TestMaskedTraining has the same bits on any number of ranks, and tells neither a sample nor a
// bigram's loss.
func TestMaskedTraining(t *testing.T) {
	clearLauncher(t)
	flags := []string{"-objective", maskedObjective, "-text", short(t), "-svg", t.TempDir() + "/loss.svg"}
	out, want := trainTiny(t, concat(flags, "-ranks", "1")...)
	require.NotContains(t, out, "sample")
	require.NotContains(t, out, "bigram")
	require.Zero(t, want.BigramValLoss)
	require.Positive(t, want.ValLoss)
	_, got := trainTiny(t, concat(flags, "-ranks", "3")...)
	require.Equal(t, essence(want), essence(got))
	_, micro := trainTiny(t, concat(flags, "-ranks", "2", "-micro", "2")...)
	require.InDelta(t, want.LossFirst, micro.LossFirst, 1e-6)
	_, next := trainTiny(t, "-text", short(t), "-ranks", "1")
	require.NotEqual(t, want.ParamSHA256, next.ParamSHA256)
	require.False(t, bytes.Contains(generate(1, 3000), []byte{maskByte}))
}
