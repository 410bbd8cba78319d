package allreduce

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-short", "-peers", "mpi5"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{4 << 10, 256 << 10}, o.Sizes)
	require.Equal(t, []string{"openmpi", "mpich", "intelmpi"}, o.peers)
	require.Equal(t, []int{10, 4, 2}, []int{o.iterations(64), o.iterations(256 << 10), o.iterations(64 << 20)})
	o, err = parseOptions([]string{"-iters", "7", "-peers", "mpich"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 7, o.iterations(64))
	require.Equal(t, []string{"mpich"}, o.peers)
	_, err = parseOptions([]string{"-nodes", "0", "-each", "99", "-rate", "-1", "-rounds", "0", "-iters", "-1", "-sizes", "6", "-peers", "odd"}, io.Discard)
	for _, name := range []string{"-nodes 0", "-each 99", "-rate -1", "-rounds 0", "-iters -1", "-sizes 6", `"odd"`} {
		require.ErrorContains(t, err, name)
	}
	_, err = parseOptions([]string{"-sizes", "x"}, io.Discard)
	require.ErrorContains(t, err, "-sizes")
	var help bytes.Buffer
	_, err = parseOptions([]string{"-h"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help.String(), "-peers")
}

// TestForms: there is nothing to sum by node on one, or on nodes of one rank.
func TestForms(t *testing.T) {
	require.Equal(t, numForms, (&options{Nodes: 2, Each: 2}).forms())
	require.Equal(t, 1, (&options{Nodes: 1, Each: 4}).forms())
	require.Equal(t, 1, (&options{Nodes: 4, Each: 1}).forms())
}

// TestMeasure sums on ranks of one process: the numbers are right, and fewer bytes cross by node.
func TestMeasure(t *testing.T) {
	o := options{Nodes: 2, Each: 2, Iterations: 3}
	crossing := make([][numForms]int, 4)
	switchyardtest.Run(t, 4, func(ctx context.Context, w *switchyard.World) error {
		forms := make([]form, o.forms())
		for i := range forms {
			var err error
			if forms[i], err = o.form(w, i); err != nil {
				return err
			}
		}
		results, err := o.measure(ctx, forms, int(w.Rank()), 64<<10)
		for i, r := range results {
			require.Len(t, r.Took, 3)
			require.Zero(t, r.Wrong)
			crossing[w.Rank()][i] = r.Crossing
		}
		return err
	})
	for _, sent := range crossing {
		require.Equal(t, [numForms]int{64 << 10, 32 << 10}, sent)
	}
}

func TestWrongNumbersAreCounted(t *testing.T) {
	x := make([]float32, 10)
	for i := range x {
		x[i] = number(0, i, 5) + number(1, i, 5)
	}
	require.Zero(t, wrong(x, 2, 5, true))
	require.Equal(t, 10, wrong(x, 2, 6, true), "of another iteration")
	x[0]++
	x[7]++
	require.Equal(t, 2, wrong(x, 2, 5, true))
	require.Equal(t, 1, wrong(x, 2, 5, false), "the first, and none behind it")
}

// TestOutcome goes from what ranks and an MPI report to rows, their table and the verdict.
func TestOutcome(t *testing.T) {
	c := comparison{options: options{Nodes: 2, Each: 2, Rate: 100, Rounds: 1, Sizes: []int{1 << 20}}}
	var out, table bytes.Buffer
	for rank := range 4 {
		took := func(ms int) []time.Duration {
			d := time.Duration(ms) * time.Millisecond
			return []time.Duration{d, d + time.Duration(rank), d}
		}
		require.NoError(t, json.NewEncoder(&out).Encode(rankReport{
			Rank: rank, Version: "v", Sizes: [][]result{{{Took: took(20), Crossing: 100}, {Took: took(10), Crossing: 50}}},
		}))
	}
	reports, err := c.read(&out)
	require.NoError(t, err)
	us := c.ours()
	us.samples, us.version = [][][]sample{c.collect(reports)}, reports[0].Version
	mpi, err := c.readMPI(strings.NewReader("a warning\nsum 262144 40000000 50000000 0\n"))
	require.NoError(t, err)
	c.contestants = []*contestant{us, {who: "mpich", algorithms: []string{"MPI_Allreduce"}, samples: [][][]sample{mpi}}, {who: "none", algorithms: []string{"x"}}}
	rows := c.rows()
	require.Len(t, rows, 3)
	require.Equal(t, []int{400, 200, 0}, []int{rows[0].Crossing, rows[1].Crossing, rows[2].Crossing})
	neartest.Equal(t, []float64{1, 2, 0.5}, []float64{rows[0].Faster, rows[1].Faster, rows[2].Faster}, 1e-4)
	require.InDelta(t, float64(1<<20)/10e-3/1e9, rows[1].Algbw, 1e-9)
	require.InDelta(t, 1.5*rows[1].Algbw, rows[1].Busbw, 1e-9)
	c.leftOut = []string{"openmpi is left out"}
	c.writeTable(&table, rows)
	for _, says := range []string{"2 nodes of 2 ranks, links of 100 Mbit/s", "# openmpi is left out", "by node", "# switchyard: version v", "# mpich: version"} {
		require.Contains(t, table.String(), says)
	}
	require.NoError(t, wrongSums(rows))
	rows[1].Wrong = 3
	require.EqualError(t, wrongSums(rows), harness.Name+", by node: 3 wrong numbers in sums of 1Mi")
}

// TestReportsThatAreNone are errors.
func TestReportsThatAreNone(t *testing.T) {
	c := comparison{options: options{Nodes: 1, Each: 2, Sizes: []int{8}}}
	_, err := c.read(strings.NewReader(`{"Rank":7,"Sizes":[[]]}`))
	require.ErrorContains(t, err, "rank 7")
	_, err = c.read(strings.NewReader(`{"Rank":1,"Sizes":[]}`))
	require.ErrorContains(t, err, "0 sizes")
	_, err = c.read(strings.NewReader(""))
	require.ErrorContains(t, err, "report")
	_, err = c.readMPI(strings.NewReader("sum 2 1 1 0\nsum 2 1 1 0\n"))
	require.ErrorContains(t, err, `it says "sum 2 1 1 0"`)
	_, err = c.readMPI(strings.NewReader("sum 3 1 1 0\n"))
	require.ErrorContains(t, err, "it says")
	_, err = c.readMPI(strings.NewReader(""))
	require.ErrorContains(t, err, "after 0 of 1 sizes")
}
