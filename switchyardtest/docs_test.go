//go:build unix

package switchyardtest_test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/docscmd"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/switchyardtest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

// The tests of this file are the code of docs/testing.md.
func TestCodeOfThePage(t *testing.T) {
	missing, err := docscmd.Missing("../docs/testing.md", "docs_test.go")
	require.NoError(t, err)
	require.Empty(t, missing)
}

// pass runs a batch through a layer, forward and backward.
func pass(ctx context.Context, w *switchyard.World) error {
	layer, err := switchyard.NewLayer(w, switchyard.Config{
		Dim: 2, Experts: 8, Group: 2, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 4},
	})
	if err != nil {
		return err
	}
	y, err := layer.Forward(ctx, blas32.General{Rows: 2, Cols: 2, Stride: 2, Data: []float32{1, 2, 3, 4}})
	if err != nil {
		return err
	}
	_, err = layer.Backward(ctx, y)
	return err
}

func TestFourRanks(t *testing.T) {
	switchyardtest.Run(t, 4, func(ctx context.Context, w *switchyard.World) error {
		require.Equal(t, 4, w.Size())
		return pass(ctx, w)
	})
}

func TestFourProcesses(t *testing.T) {
	switchyardtest.RunProcesses(t, 4, pass)
}

func TestOverGRPC(t *testing.T) {
	cfg := switchyardtest.Config{Transport: "grpc", Transports: []switchyard.Opener{grpc.Opener{}}}
	t.Run("goroutines", func(t *testing.T) { cfg.Run(t, 4, pass) })
	t.Run("processes", func(t *testing.T) { cfg.RunProcesses(t, 4, pass) })
}

func TestOnASlowNetwork(t *testing.T) {
	slow := func(end transport.Transport) transport.Transport {
		return shaped.New(end, shaped.Config{Latency: time.Millisecond, Bandwidth: 10e6})
	}
	switchyardtest.Config{Wrap: slow}.Run(t, 4, pass)
}

func TestARankFails(t *testing.T) {
	rules := faulty.Config{Rules: []faulty.Rule{faulty.FailAt(2, 5, nil)}} // in its fifth operation
	breaks := func(end transport.Transport) transport.Transport { return faulty.New(end, rules) }
	for rank, err := range (switchyardtest.Config{Wrap: breaks}).Errors(t, 4, pass) {
		require.Equal(t, transport.Rank(2), transport.CulpritOf(err), "rank %d: %v", rank, err)
	}
}

func TestAProcessIsKilled(t *testing.T) {
	cfg := switchyardtest.Config{Lost: []transport.Rank{2}}
	cfg.RunProcesses(t, 4, func(ctx context.Context, w *switchyard.World) error {
		err := pass(ctx, w)
		if err == nil && w.Rank() == 2 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		for err == nil { // rank 2 may die while others are still in the first pass
			err = pass(ctx, w)
		}
		if transport.CulpritOf(err) != 2 {
			return fmt.Errorf("want an error that names rank 2: %w", err)
		}
		return nil
	})
}

// TestCodeOfTheTrainersPage is that of the example.
func TestCodeOfTheTrainersPage(t *testing.T) {
	missing, err := docscmd.Missing("../docs/trainer.md", "../examples/minimal/main.go")
	require.NoError(t, err)
	require.Empty(t, missing)
}
