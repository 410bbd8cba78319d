package routers

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/svgtest"

	"github.com/stretchr/testify/require"
)

func TestEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a program")
	}
	dir := t.TempDir()
	text, md, rows := filepath.Join(dir, "text"), filepath.Join(dir, "a.md"), filepath.Join(dir, "rows.json")
	require.NoError(t, os.WriteFile(text, bytes.Repeat([]byte("the quick brown fox. "), 600), 0o600))
	require.NoError(t, os.WriteFile(md, []byte("before\n"+tableBegin+"old\n"+tableEnd+"after\n"), 0o600))
	code, stdout, stderr := benchtest.Call(t, Run, "-steps", "1", "-text", text, "-routers", "topk,base", "-md", md, "-json", rows, "-svg", dir)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "| topk ")
	page, err := os.ReadFile(md)
	require.NoError(t, err)
	require.Contains(t, string(page), "before\n"+tableBegin)
	require.Contains(t, string(page), tableEnd+"after\n")
	require.Contains(t, string(page), "| base ")
	require.NotContains(t, string(page), "old")
	require.FileExists(t, filepath.Join(dir, "routers-load.svg"))
	data, err := os.ReadFile(rows)
	require.NoError(t, err)
	var first trained
	require.NoError(t, json.NewDecoder(bytes.NewReader(data)).Decode(&first))
	require.Equal(t, "topk", first.Router)
	require.Len(t, first.ExpertLoad, 2)

	code, again, _ := benchtest.Call(t, Run, "-from", rows)
	require.Zero(t, code)
	require.Equal(t, stdout, again, "the table of what the file holds")

	code, _, stderr = benchtest.Call(t, Run, "-steps", "1", "-text", text, "-routers", "astrology")
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "-router astrology: must be one of topk,")
}

func TestAreListed(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	program := benchtest.Trainer(t)
	names, err := of(context.Background(), program)
	require.NoError(t, err)
	require.Equal(t, "topk", names[0])
	require.Contains(t, names, "soft-moe")
	_, err = of(context.Background(), "true")
	require.ErrorContains(t, err, "lists no routers")
}

func TestBadFlags(t *testing.T) {
	for args, says := range map[string]string{
		"-steps 0": "-steps 0, -ranks 2: want at least 1", "more": `"more": routers takes flags only`, "-nonsense": "-nonsense",
	} {
		code, _, stderr := benchtest.Call(t, Run, strings.Fields(args)...)
		require.Equal(t, harness.Misused, code, args)
		require.Contains(t, stderr, says)
	}
	code, stdout, _ := benchtest.Call(t, Run, "-h")
	require.Zero(t, code)
	require.Contains(t, stdout, "usage: go run ./bench routers")
}

func TestTableNeedsItsPlace(t *testing.T) {
	md := filepath.Join(t.TempDir(), "a.md")
	require.NoError(t, os.WriteFile(md, []byte(tableBegin), 0o600))
	require.ErrorContains(t, insertTable(md, []trained{{}}), "has no lines")
}

func TestUnevenness(t *testing.T) {
	require.InDelta(t, 2, trained{ExpertLoad: [][]int{{1, 1}, {6, 2, 1, 3}, {3, 3, 2, 0}}}.unevenness(), 1e-12)
	require.Zero(t, trained{ExpertLoad: [][]int{{0, 0}}}.unevenness())
}

func TestLooksAheadIsMarked(t *testing.T) {
	var out strings.Builder
	writeTrained(&out, []trained{{Router: "soft-moe", LooksAhead: true, BigramValLoss: 2.5, ValLoss: 2}})
	require.Contains(t, out.String(), "| soft-moe ¹")
	require.Contains(t, out.String(), "0.5000")
	out.Reset()
	writeTrained(&out, nil)
	require.Empty(t, out.String())
}

func TestOutcomesMustBeAlike(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	require.NoError(t, harness.WriteJSONLines(a, []trained{{Router: "topk", Steps: 2}}))
	require.NoError(t, harness.WriteJSONLines(b, []trained{{Router: "base", Steps: 3}}))
	_, err := readTrained([]string{a, b})
	require.ErrorContains(t, err, "base was trained otherwise than topk")
	_, err = readTrained([]string{filepath.Join(dir, "none")})
	require.Error(t, err)
}

// TestLoadsAreReadable in any of the fonts that a reader may have.
func TestLoadsAreReadable(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "x.svg")
	check := func(name string) {
		t.Helper()
		text, err := os.ReadFile(svg)
		require.NoError(t, err)
		svgtest.Readable(t, text, name)
	}
	require.NoError(t, drawLoads(svg, []trained{
		{Router: "topk", ExpertLoad: [][]int{{4, 3, 2, 1, 0, 1, 2, 3}, {1, 1, 1, 1, 1, 1, 1, 9}}},
		{Router: "expert-choice-global-with-a-long-name", ExpertLoad: [][]int{{1000, 1}}},
		{Router: "mola", ExpertLoad: [][]int{{1, 2}, {1, 2, 3, 4, 5, 6, 7, 8}}},
	}))
	check("loads")
}
