package alltoall

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReportsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	r := report{version: "1.2 beta", timings: []timing{
		{bytes: 64, took: []time.Duration{1, 2}},
		{bytes: 128, wrong: 3, took: []time.Duration{4}},
	}}
	steps := []step{{64, 9, 2}, {128, 9, 1}}
	require.NoError(t, writeReport(dir, 5, r))
	back, err := readReport(dir, 5, steps)
	require.NoError(t, err)
	require.Equal(t, r, back)

	_, err = readReport(dir, 5, steps[:1])
	require.ErrorContains(t, err, "result of rank 5: 2 steps, want 1")
	_, err = readReport(dir, 5, []step{{64, 9, 2}, {128, 9, 2}})
	require.ErrorContains(t, err, "128 bytes and 1 iterations, want 128 and 2")
	_, err = readReport(dir, 4, steps)
	require.ErrorContains(t, err, "rank 4 left no result")
}

func TestBrokenReports(t *testing.T) {
	for text, says := range map[string]string{
		"":                               "no end after 0 steps",
		"version 1\nstep 64 0 1\n":       "no end after 1 steps",
		"version 1\nstep 64 0\nend\n":    "a step of 2 fields",
		"version 1\nstep 64 x 1\nend\n":  `field 2 of a step is "x"`,
		"version 1\nstep 64 0 -1\nend\n": `field 3 of a step is "-1"`,
		"Segmentation fault\n":           "makes no sense",
	} {
		_, err := parseReport([]byte(text))
		require.ErrorContains(t, err, says)
	}
}
