package main

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// trainOn trains up to a step on n ranks of this process, and returns the held-out loss.
func trainOn(t *testing.T, n, last int, dir string) (held float64) {
	t.Helper()
	switchyardtest.Run(t, n, func(ctx context.Context, w *switchyard.World) error {
		loss, err := train(ctx, w, 100, last, dir)
		if w.Rank() == 0 { // all have the same
			held = loss
		}
		return err
	})
	return held
}

func TestFourRanksLearn(t *testing.T) {
	require.Less(t, trainOn(t, 4, 100, t.TempDir()), 0.3, "always to answer with the mean of all letters has 0.47")
}

// TestResume: a run that stops and goes on, on other ranks, ends where one that never stopped does.
func TestResume(t *testing.T) {
	want, dir := trainOn(t, 4, 60, t.TempDir()), t.TempDir()
	trainOn(t, 4, 40, dir)
	require.InDelta(t, want, trainOn(t, 2, 60, dir), 1e-6, "but for the order in which the ranks' losses are added")
}

// TestProcesses is the same with a process for each rank, over the transport that Join chooses.
func TestProcesses(t *testing.T) {
	cfg := switchyardtest.Config{Env: []string{"CHECKPOINTS=" + t.TempDir()}}
	cfg.RunProcesses(t, 4, func(ctx context.Context, w *switchyard.World) error {
		_, err := train(ctx, w, 100, 20, os.Getenv("CHECKPOINTS"))
		return err
	})
}
