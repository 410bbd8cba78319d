package main

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/switchyard-moe/switchyard/bench/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/interrupt"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// TestMain lets the test binary stand in for bench where a measurement starts it again as a rank.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && isRank(os.Args[1:]) {
		ctx, _ := interrupt.Context(context.Background(), 0)
		os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	leaktest.Main(m)
}

func TestHelp(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, harness.Misused, "usage: go run ./bench <command>"},
		{[]string{"-h"}, 0, "alltoall   time an all-to-all"},
		{[]string{"allgather"}, harness.Misused, `no command "allgather"`},
		{[]string{"alltoall", "-h"}, 0, "usage: go run ./bench alltoall [flags]"},
		{[]string{alltoall.RankCommand, "dir", "1:2"}, harness.Misused, `step "1:2": want BYTES:WARMUP:ITERATIONS`},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(context.Background(), c.args, &stdout, &stderr), c.args)
		require.Contains(t, stdout.String()+stderr.String(), c.says, c.args)
		require.NotContains(t, stdout.String(), alltoall.RankCommand, "what bench starts itself is not listed")
	}
}
