//go:build unix

package launch

import (
	"bytes"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRestarts: after a failure all ranks are started again, as another try of the same job.
func TestRestarts(t *testing.T) {
	var out bytes.Buffer
	var told []int
	cfg := childConfig(t, "fails twice", 2)
	cfg.Stdout, cfg.Restarts = &out, 3
	cfg.OnRestart = func(restart int, failure *ExitError) {
		require.Equal(t, 1, failure.Rank)
		require.Equal(t, 7, failure.Code)
		told = append(told, restart)
	}
	require.NoError(t, Run(context.Background(), cfg))
	require.Equal(t, []int{1, 2}, told)

	tries, ids, ports := map[string]int{}, map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(line)
		require.Equal(t, "3", f[1])
		tries[f[0]]++
		ids[f[2]], ports[f[3]] = true, true
	}
	require.Equal(t, 2, tries["2"], "both ranks are in the last try")
	require.Len(t, ids, 1)
	require.Greater(t, len(ports), 1, "a rank of an earlier try cannot meet those of the next")
}

func TestRestartsAreCounted(t *testing.T) {
	told := 0
	cfg := childConfig(t, "fails twice", 2)
	cfg.Restarts, cfg.OnRestart = 1, func(int, *ExitError) { told++ }
	require.Equal(t, 7, ExitCode(Run(context.Background(), cfg)))
	require.Equal(t, 1, told)
	cfg.Restarts = -1
	require.ErrorContains(t, Run(context.Background(), cfg), "-1 restarts: want 0 or more")
}

// TestFinalFailure: what would fail again is not started again.
func TestFinalFailure(t *testing.T) {
	cfg := childConfig(t, "fails twice", 2)
	cfg.Restarts, cfg.OnRestart = 3, func(int, *ExitError) { require.Fail(t, "restarted") }
	cfg.Final = func(failure *ExitError) bool { return failure.Code == 7 }
	require.Equal(t, 7, ExitCode(Run(context.Background(), cfg)))
}

// TestNoRestartAfterAStop: a job that was asked to stop, by a signal or by its context, is over,
// and so is one whose program cannot be started.
func TestNoRestartAfterAStop(t *testing.T) {
	never := func(int, *ExitError) { require.Fail(t, "restarted") }
	signals := make(chan os.Signal, 1)
	cfg := childConfig(t, "wait", 2)
	cfg.Restarts, cfg.OnRestart, cfg.Signals = 5, never, signals
	once := false
	cfg.Stdout = onWrite(func() {
		if !once {
			once = true
			signals <- syscall.SIGTERM
		}
	})
	require.Equal(t, 128+15, ExitCode(Run(context.Background(), cfg)))

	ctx, cancel := context.WithCancel(context.Background())
	cfg.Signals, cfg.Stdout = nil, onWrite(cancel)
	require.ErrorIs(t, Run(ctx, cfg), context.Canceled)

	cfg.Command = []string{"/no/such/program"}
	require.ErrorContains(t, Run(context.Background(), cfg), "starting rank 0")
}
