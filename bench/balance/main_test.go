package balance

import (
	"context"
	"os"
	"testing"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// TestMain lets the test binary stand in for bench where a measurement starts it again as a rank,
// and fails where a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "balance" && os.Args[2] == rankArg {
		os.Exit(Run(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
	}
	leaktest.Main(m)
}
