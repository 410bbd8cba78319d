//go:build unix

package launch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// childVariable holds the name of the child program that the test binary runs instead of the tests.
const childVariable = "SWITCHYARD_LAUNCH_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		os.Exit(children[name]())
	}
	leaktest.Main(m)
}

// childConfig runs the named child program as ranks ranks.
func childConfig(t *testing.T, name string, ranks int, env ...string) Config {
	command, err := Self()
	require.NoError(t, err)
	env = append(env, childVariable+"="+name)
	return Config{Ranks: ranks, Command: command, Env: append(os.Environ(), env...), Grace: 20 * time.Second}
}

func TestRanksGetTorchrunsEnvironment(t *testing.T) {
	var out bytes.Buffer
	cfg := childConfig(t, "environment", 3)
	cfg.Stdout, cfg.Prefix, cfg.MasterPort = &out, true, 29500
	require.NoError(t, Run(context.Background(), cfg))

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	ids := map[string]bool{}
	for _, line := range lines {
		rank := line[1:2]
		f := strings.Fields(line)
		require.Equal(t, []string{"[" + rank + "]", rank, "3", rank, "3", "0", "127.0.0.1", "29500", "0"}, f[:9])
		require.NotEmpty(t, f[9])
		ids[f[9]] = true
	}
	require.Len(t, ids, 1, "all ranks are of one run")
}

func TestAFailingRankEndsTheOthers(t *testing.T) {
	start := time.Now()
	err := Run(context.Background(), childConfig(t, "rank 1 fails", 3))
	var exit *ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.Rank)
	require.Equal(t, 7, ExitCode(err))
	require.Contains(t, err.Error(), "rank 1 failed first: exit status 7")
	require.Less(t, time.Since(start), 15*time.Second, "the others obey SIGTERM and need no grace")
}

func TestRanksThatIgnoreSIGTERMAreKilled(t *testing.T) {
	cfg := childConfig(t, "rank 1 fails, others are stubborn", 2, "READY_DIR="+t.TempDir())
	cfg.Grace = 100 * time.Millisecond
	require.Equal(t, 7, ExitCode(Run(context.Background(), cfg)))
}

func TestCancelEndsTheRanks(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	cfg := childConfig(t, "wait", 2)
	cfg.Stdout = onWrite(func() { cancel(why) })
	require.ErrorIs(t, Run(ctx, cfg), why)
}

func TestAProgramThatIsNotThere(t *testing.T) {
	err := Run(context.Background(), Config{Ranks: 2, Command: []string{filepath.Join(t.TempDir(), "nothing")}})
	require.ErrorContains(t, err, "starting rank 0")
	require.Equal(t, 1, ExitCode(err))
}

func TestValidateReportsEveryFault(t *testing.T) {
	err := Config{Ranks: 5000, MasterPort: 65535, Grace: -1}.Validate()
	require.ErrorContains(t, err, "5000 ranks: want 1 to 1024")
	require.ErrorContains(t, err, "no command")
	require.ErrorContains(t, err, "65535: want 1 to 65534")
	require.ErrorContains(t, err, "grace")
	require.Error(t, Run(context.Background(), Config{}))
}

func TestFreePortPair(t *testing.T) {
	port, err := freePortPair()
	require.NoError(t, err)
	require.True(t, free(port) && free(port+1))
}

// onWrite calls a function at every write.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) { f(); return len(p), nil }

// TestRanksThatMayFail: the others go on, and one that is left at the end is killed.
func TestRanksThatMayFail(t *testing.T) {
	var out bytes.Buffer
	cfg := childConfig(t, "rank 1 fails, others go on", 4)
	cfg.Stdout = &out
	cfg.MayFail = func(rank int) bool { return rank == 1 || rank == 2 }
	require.NoError(t, Run(context.Background(), cfg))
	require.Equal(t, 2, strings.Count(out.String(), "went on"))
	cfg.MayFail = func(rank int) bool { return rank == 2 }
	require.Equal(t, 7, ExitCode(Run(context.Background(), cfg)))
}

func TestRanksGetFiles(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	_, err = w.WriteString("for one rank")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	var out bytes.Buffer
	cfg := childConfig(t, "read file", 1)
	cfg.Stdout = &out
	cfg.Files = func(int) []*os.File { return []*os.File{r} }
	require.NoError(t, Run(context.Background(), cfg))
	require.Equal(t, "for one rank\n", out.String())
}
