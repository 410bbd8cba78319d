package lsh

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-variants", "paper"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.variants, 3, "and the two that it is measured by")
	_, err = parseOptions([]string{"-variants", "paper,papier", "-rates", "0", "-seeds", "0"}, io.Discard)
	for _, name := range []string{`"papier"`, `-rates "0"`, "-seeds 0"} {
		require.ErrorContains(t, err, name)
	}
}

// TestRows weighs variants by the two that they are measured by.
func TestRows(t *testing.T) {
	o, err := parseOptions([]string{"-variants", "paper,paper×1.25,paper+overlap"}, io.Discard)
	require.NoError(t, err)
	rows := o.rows(500, map[string]lshRun{plainName: {StepMS: 300, ExchangeShare: 0.5}, "paper": {StepMS: 200, WireBytes: 24}, "paper+overlap": {StepMS: 150}},
		map[string]float64{noExpertsName: 2.2, plainName: 2, "paper": 2.05, "paper×1.25": 1.99})
	of := map[string]row{}
	for _, r := range rows {
		of[r.Variant] = r
	}
	require.InDelta(t, 1.5, of["paper"].Speedup, 1e-9)
	require.InDelta(t, 0.75, of["paper"].Kept, 1e-9)
	require.Zero(t, of["paper"].TimeToLoss)
	require.EqualValues(t, 2, of["paper"].Wire)
	require.InDelta(t, 1.2, of["paper×1.25"].TimeToLoss, 1e-9)
	require.InDelta(t, 2, of["paper+overlap"].Speedup, 1e-9)
	require.InDelta(t, 0.75, of["paper+overlap"].Kept, 1e-9)
	var table bytes.Buffer
	writeTable(&table, rows)
	require.Contains(t, table.String(), "paper×1.25")
}
