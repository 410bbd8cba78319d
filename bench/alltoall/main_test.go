package alltoall

import (
	"context"
	"os"
	"testing"

	"github.com/switchyard-moe/switchyard/internal/interrupt"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// TestMain lets the test binary stand in for bench where a measurement starts it again as a rank.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == RankCommand {
		ctx, _ := interrupt.Context(context.Background(), 0)
		os.Exit(RunRank(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	leaktest.Main(m)
}
