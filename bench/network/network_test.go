package network

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-short", "-skew", "hot,zipf"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{64, 64 << 10}, o.Sizes)
	require.Equal(t, 2, o.Rounds)
	_, err = parseOptions([]string{"-nodes", "0", "-each", "99", "-rate", "-1", "-rounds", "0", "-sizes", "x", "-skew", "odd", "-k", "9999"}, io.Discard)
	for _, name := range []string{"-nodes 0", "-each 99", "-rate -1", "-rounds 0", "-sizes", `"odd"`, "-k 9999"} {
		require.ErrorContains(t, err, name)
	}
	_, err = parseOptions([]string{"-mpi", "-k", "2"}, io.Discard)
	require.ErrorContains(t, err, "-mpi with -k")
	var help bytes.Buffer
	_, err = parseOptions([]string{"-h"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help.String(), "-skew")
}

// TestCases: every row is somebody's, and tokens have different experts.
func TestCases(t *testing.T) {
	o := options{Nodes: 2, Each: 2, Sizes: []int{64, 64 << 10}, Skews: []string{"uniform", "zipf", "hot"}, Tokens: 50, Dim: 8}
	for _, c := range o.cases(1) {
		n := 0
		for _, rows := range c.counts.Rows {
			n += rows
		}
		require.Equal(t, c.Bytes*4, 4*c.dim*n, c.Name)
		require.Equal(t, c.tokens, n)
	}
	require.Equal(t, []int{8, 3, 3, 2}, apportion(16, skews["hot"](4)))

	o.K = 3
	c := o.cases(1)[0]
	require.Len(t, c.token, 150)
	all := c.crossings(&o, 1)
	require.Less(t, all.once, all.rows)
	require.LessOrEqual(t, all.once, 50, "there is one other node")
	require.Less(t, all.apart, all.leaving)
	require.Greater(t, all.share().Ranks, all.share().Nodes)
}

// TestOutcome goes from what ranks report to rows, their table and the verdict.
func TestOutcome(t *testing.T) {
	o := options{Nodes: 2, Each: 1, Sizes: []int{64}, Skews: []string{"uniform"}}
	var out, stdout bytes.Buffer
	for rank := range 2 {
		r := networkReport{Rank: rank}
		for i, a := range alltoall.Algorithms() {
			took := time.Duration(i+1) * time.Millisecond
			r.Results = append(r.Results, result{
				Dispatch: []time.Duration{took, took + time.Duration(rank)}, Combine: []time.Duration{took, took},
				Predicted: alltoall.Prediction{Algorithm: a, Dispatch: took, Combine: took}, Auto: i == 1, Sent: 10,
			})
		}
		require.NoError(t, json.NewEncoder(&out).Encode(r))
	}
	rows, err := o.collect(&stdout, &out)
	require.NoError(t, err)
	require.Len(t, rows, len(alltoall.Algorithms()))
	require.Equal(t, 20, rows[0].Sent)
	require.Zero(t, rows[0].Regret)
	require.InDelta(t, 1, rows[1].Regret, 1e-3, "twice as slow")
	writeTable(&stdout, rows)
	require.Contains(t, stdout.String(), "in 0 of 1 cases")
	require.NoError(t, wrongRows(rows))
	rows[0].Wrong = 3
	require.ErrorContains(t, wrongRows(rows), "3 rows")
	_, err = o.collect(&stdout, bytes.NewBufferString(`{"Rank":7}`))
	require.ErrorContains(t, err, "rank 7")

	peers, err := o.readMPI(bytes.NewBufferString("0 4000000 4000000\nwrong 0\n"))
	require.NoError(t, err)
	all := beside(rows, peers)
	require.Len(t, all, len(rows)+1)
	require.InDelta(t, 3, all[len(rows)].Regret, 1e-3)
	_, err = o.readMPI(bytes.NewBufferString("0 4 4\n"))
	require.ErrorContains(t, err, "ended early")
}
