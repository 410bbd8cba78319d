//go:build unix

package switchyardtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/shm"
)

// byName are the transports that ranks can be connected over.
func byName() map[string]Config {
	all := map[string]Config{
		"auto": {}, "tcp": {Transport: "tcp"}, "grpc": {Transport: "grpc", Transports: []switchyard.Opener{grpc.Opener{}}},
	}
	if shm.Supported {
		all["shm"] = Config{Transport: "shm"}
	}
	return all
}

// TestProcesses: each rank is a process of its own, over every transport.
func TestProcesses(t *testing.T) {
	for name, cfg := range byName() {
		t.Run(name+" / every", func(t *testing.T) {
			dir := t.TempDir()
			cfg.Env = []string{"RESULTS=" + dir}
			cfg.RunProcesses(t, 3, func(ctx context.Context, w *switchyard.World) error {
				if name != "auto" && transport.CapabilitiesOf(w.Transport()).Name != name {
					return fmt.Errorf("over %v", transport.CapabilitiesOf(w.Transport()))
				}
				if err := waitForAll(ctx, w); err != nil {
					return err
				}
				file := filepath.Join(os.Getenv("RESULTS"), fmt.Sprint(os.Getpid()))
				return os.WriteFile(file, []byte(fmt.Sprint(w.Size())), 0o666)
			})
			files, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, files, 3, "three processes")
			require.NoFileExists(t, filepath.Join(dir, fmt.Sprint(os.Getpid())), "this is not one of them")
		})
	}
}

// TestOverTransportsInOneProcess: the ranks of Run can be connected by name too.
func TestOverTransportsInOneProcess(t *testing.T) {
	for name, cfg := range byName() {
		if name == "auto" {
			cfg.Transport = "auto"
		}
		for _, n := range []int{1, 3} {
			cfg.Run(t, n, waitForAll)
		}
	}
	u := try(t, func(t testing.TB) { Config{Transport: "carrier"}.Run(t, 2, waitForAll) })
	require.Contains(t, u.text.String(), `Config.Transport is "carrier", and this program has auto`)
}

// TestALostProcess: one that is killed, and one that is stopped, fail nothing where that is
// expected, and the others name the one that is killed.
func TestALostProcess(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(fmt.Sprint(signal), func(t *testing.T) {
			Config{Lost: []transport.Rank{1}}.RunProcesses(t, 3, func(ctx context.Context, w *switchyard.World) error {
				if err := waitForAll(ctx, w); err != nil {
					return err
				}
				if w.Rank() == 1 {
					return syscall.Kill(os.Getpid(), signal)
				}
				if signal == syscall.SIGSTOP {
					return nil
				}
				err := waitForAll(ctx, w)
				if culprit := transport.CulpritOf(err); culprit != 1 || !errors.Is(err, transport.ErrPeerDead) && !errors.Is(err, transport.ErrPeerClosed) {
					return fmt.Errorf("rank %d is blamed: %w", culprit, err)
				}
				return nil
			})
		})
	}
}

// TestObserve: the test reads what processes write, and kills one in the middle of its work.
func TestObserve(t *testing.T) {
	var lines []string
	cfg := Config{Lost: []transport.Rank{1}, Observe: func(p *Processes, rank transport.Rank, line string) {
		lines = append(lines, fmt.Sprint(rank, " ", line))
		if line == "at work" {
			require.NoError(t, p.Signal(rank, os.Kill))
		}
		require.Error(t, p.Signal(7, os.Kill))
	}}
	cfg.RunProcesses(t, 2, func(ctx context.Context, w *switchyard.World) error {
		if w.Rank() == 1 {
			fmt.Println("at work")
			hang(make(chan struct{}))
		}
		err := waitForAll(ctx, w)
		fmt.Println("blames", transport.CulpritOf(err))
		return nil
	})
	require.Equal(t, []string{"1 at work", "0 blames 1"}, lines)
	u := try(t, func(t testing.TB) { cfg.Run(t, 2, waitForAll) })
	require.Contains(t, u.text.String(), "Config.Env, Observe and Lost are for processes")
}

var word = flag.String("word", "", "a flag of the program's own tests")

// trialVariable has TestTrials run, which fails on purpose.
const trialVariable = "SWITCHYARDTEST_TRIAL"

// TestTrials is what the tests below run as a test binary of its own.
func TestTrials(t *testing.T) {
	if os.Getenv(trialVariable) == "" {
		t.Skip("only as a process")
	}
	for name, trial := range map[string]func(t *testing.T){
		"error": func(t *testing.T) {
			RunProcesses(t, 3, func(ctx context.Context, w *switchyard.World) error {
				fmt.Println("this is rank", w.Rank())
				if w.Rank() == 1 {
					return errors.New("no tokens")
				}
				return waitForAll(ctx, w)
			})
		},
		"asked": func(t *testing.T) { // to end, between its rank's failure and what it prints of that
			if os.Getenv(childVariable) != "" && os.Getenv("RANK") == "1" {
				t.Cleanup(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) })
			}
			RunProcesses(t, 2, func(ctx context.Context, w *switchyard.World) error {
				if w.Rank() == 1 {
					return errors.New("no tokens")
				}
				return waitForAll(ctx, w)
			})
		},
		"panic": func(t *testing.T) {
			RunProcesses(t, 2, func(ctx context.Context, w *switchyard.World) error {
				if w.Rank() == 1 {
					panic("boom")
				}
				return waitForAll(ctx, w)
			})
		},
		"require": func(t *testing.T) {
			RunProcesses(t, 2, func(ctx context.Context, w *switchyard.World) error {
				require.Zero(t, w.Rank(), "unequal")
				return waitForAll(ctx, w)
			})
		},
		"killed": func(t *testing.T) {
			RunProcesses(t, 2, func(ctx context.Context, w *switchyard.World) error {
				if w.Rank() == 1 {
					return syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
				<-ctx.Done()
				return context.Cause(ctx)
			})
		},
		"hangs": func(t *testing.T) {
			Config{Timeout: 500 * time.Millisecond, grace: 100 * time.Millisecond}.RunProcesses(t, 2, func(ctx context.Context, w *switchyard.World) error {
				if w.Rank() == 1 {
					hang(make(chan struct{}))
				}
				return waitForAll(ctx, w)
			})
		},
		"twice": func(t *testing.T) {
			RunProcesses(t, 1, waitForAll)
			RunProcesses(t, 1, waitForAll)
		},
		"above": func(t *testing.T) {
			RunProcesses(t, 1, waitForAll)
			t.Run("below", func(t *testing.T) { RunProcesses(t, 1, waitForAll) })
		},
		"skipped": func(t *testing.T) {
			if os.Getenv(childVariable) != "" {
				t.Skip("at the start")
			}
			RunProcesses(t, 2, waitForAll)
		},
		"fatal": func(t *testing.T) {
			if os.Getenv("RANK") == "1" {
				t.Fatal("at the start")
			}
			RunProcesses(t, 2, waitForAll)
		},
		"name": func(t *testing.T) {
			t.Run(fmt.Sprint(os.Getpid()), func(t *testing.T) { RunProcesses(t, 1, waitForAll) })
		},
		"exit": func(t *testing.T) {
			RunProcesses(t, 1, func(context.Context, *switchyard.World) error { os.Exit(0); return nil })
		},
		"flags": func(t *testing.T) {
			RunProcesses(t, 1, func(context.Context, *switchyard.World) error {
				return fmt.Errorf("word %q, verbose %t, short %t, args %q", *word, testing.Verbose(), testing.Short(), flag.Args())
			})
		},
	} {
		t.Run(name, trial)
	}
}

// runTrial runs one of TestTrials, and returns what it printed.
func runTrial(t *testing.T, name string, flags ...string) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, append([]string{"-test.run=^TestTrials$/^" + name + "$"}, flags...)...)
	cmd.Env = append(os.Environ(), trialVariable+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)
	return string(out)
}

func TestProcessesThatFail(t *testing.T) {
	// Each is several processes.
	seldom := []string{"panic", "require", "twice", "above", "fatal", "exit"}
	for name, wants := range map[string][]string{
		"error": {
			"[0] this is rank 0\n", "[1] this is rank 1\n", "switchyardtest: rank 1 failed: no tokens\n", "rank 1 failed: no tokens\n",
			"rank 0 failed: ", "switchyardtest: rank 1 failed first: no tokens; its output is in the lines that begin with [1]\n",
		},
		"asked":   {"rank 1 failed: no tokens\n", "switchyardtest: rank 1 failed first: no tokens; its output is in the lines that begin with [1]\n"},
		"panic":   {"rank 1 failed: it panicked: boom\n", "processes_test.go", "rank 1 failed first: it panicked: boom;"},
		"require": {"[1] ", "unequal", "rank 1 failed: " + errEnded.Error(), "rank 1 failed first: " + errEnded.Error()},
		"killed":  {"switchyardtest: rank 1 failed first: signal: killed", "rank 0 failed: " + errStopped.Error()},
		"hangs":   {"rank 1 hangs: it has not returned though its context ended (", "switchyardtest.hang"},
		"twice":   {"TestTrials/twice calls RunProcesses twice: give each call a subtest"},
		"fatal":   {"[1] ", "rank 1 failed first: exit status 1; its output is in the lines that begin with [1]"},
		"skipped": {"switchyardtest: the process of rank 0 has ended, without an error, before its rank has"},
		"name":    {"no tests to run", "the process of rank 0 has ended, without an error, before its rank has"},
		"exit":    {"the process of rank 0 has ended, without an error, before its rank has"},
		"above":   {"the process is a rank of TestTrials/above/below, and TestTrials/above calls RunProcesses too"},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && slices.Contains(seldom, name) {
				t.Skip("in the long run")
			}
			t.Parallel()
			out := runTrial(t, name)
			for _, want := range wants {
				require.Contains(t, out, want)
			}
			require.NotRegexp(t, `\[\d\] +(PASS|FAIL|=== RUN|--- )`, out)
			require.NotContains(t, out, failureMark)
			require.NotContains(t, out, returnedMark)
		})
	}
}

// TestFlagsReachTheProcesses: the program's own, and those that say how tests run.
func TestFlagsReachTheProcesses(t *testing.T) {
	out := runTrial(t, "flags", "-test.short", "-test.v", "-word=two words", "--", "rest")
	require.Contains(t, out, `word "two words", verbose true, short true, args ["rest"]`)
}

func TestOnly(t *testing.T) {
	require.Equal(t, `^TestA$/^ranks=4,\[x\]\.y$/^z#01$`, only("TestA/ranks=4,[x].y/z#01"))
}

func TestChild(t *testing.T) {
	told := child{"127.0.0.1:7", time.Minute, "TestA/b c"}
	name, value, _ := strings.Cut(told.variable(), "=")
	require.Equal(t, childVariable, name)
	got, err := parseChild(value)
	require.NoError(t, err)
	require.Equal(t, told, got)
	for _, wrong := range []string{"", "127.0.0.1:7 5", "127.0.0.1:7 x TestA"} {
		_, err = parseChild(wrong)
		require.Error(t, err, "%q", wrong)
	}
}
