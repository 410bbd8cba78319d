package step

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-short"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{1000}, o.rates)
	text, err := json.Marshal(o)
	require.NoError(t, err)
	var there options
	t.Setenv("RANK", "3")
	_, err = harness.RankOptions([]string{string(text)}, &there)
	require.NoError(t, err)
	require.Equal(t, []int{0, 1 << 20}, there.pieces())
	there.Free = true
	require.Equal(t, []int{0}, there.pieces())
	_, err = parseOptions([]string{"-ranks", "1", "-copies", "3", "-layers", "0", "-rounds", "0", "-k", "17", "-overlap", "0", "-piece", "0", "-rates", "x"}, io.Discard)
	for _, name := range []string{"-ranks 1", "-copies 3: want a divisor", "-layers 0", "-rounds 0", "-k 17", "-overlap 0", "-piece 0", `-rates "x"`} {
		require.ErrorContains(t, err, name)
	}
	var help bytes.Buffer
	_, err = parseOptions([]string{"-h"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help.String(), "-copies")
}

// TestStepsHaveTheSameBits on ranks in one process: the outcome of both ways goes into a table.
func TestStepsHaveTheSameBits(t *testing.T) {
	o, err := parseOptions([]string{"-short"}, io.Discard)
	require.NoError(t, err)
	o.Piece = 1000
	reports := make([]report, o.Ranks)
	switchyardtest.Run(t, o.Ranks, func(ctx context.Context, w *switchyard.World) error {
		ways, err := o.time(ctx, w)
		reports[w.Rank()] = report{int(w.Rank()), ways}
		return err
	})
	var out bytes.Buffer
	for _, r := range reports {
		require.NoError(t, json.NewEncoder(&out).Encode(r))
	}
	ways, err := o.collect(&out)
	require.NoError(t, err)
	require.Len(t, ways, 2)
	require.Equal(t, o.Piece, ways[1].piece)

	reports[1].Ways[1].Digests[1]++
	require.ErrorContains(t, reports[1].check(2, o.Rounds), "rank 1: in round 2 sums in gaps gave other bits")
	require.ErrorContains(t, reports[0].check(1, o.Rounds), "2 ways")
	require.ErrorContains(t, reports[0].check(2, o.Rounds+1), "does not report 3 rounds")
	_, err = o.collect(&out)
	require.ErrorContains(t, err, "report")
}

// TestOutcome: the bound is the larger of computing and the link, and a layer's sum.
func TestOutcome(t *testing.T) {
	o := options{Layers: 4}
	const ms = time.Millisecond
	rows := o.rowsOf(80, way{step: 50 * ms}, []way{
		{step: 200 * ms, sync: 90 * ms, sent: 1_000_000, sentBySync: 400_000}, {piece: 128 << 10, step: 121 * ms, sync: 11 * ms},
	})
	require.InDelta(t, 100, rows[0].Link, 1e-9)
	require.InDelta(t, 10, rows[0].Sum, 1e-9)
	require.InDelta(t, 110, rows[1].Bound, 1e-9)
	require.InDelta(t, 1.1, rows[1].OfBound, 1e-9)
	require.InDelta(t, 200./121, rows[1].Speedup, 1e-9)
	var table bytes.Buffer
	writeTable(&table, rows)
	require.Contains(t, table.String(), "at the end")
	require.Contains(t, table.String(), "in gaps, 128 KiB")
}
