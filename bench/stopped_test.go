package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
)

// trip is a writer that ends a context once a text has been written to it.
type trip struct {
	mu   sync.Mutex
	text bytes.Buffer
	on   string
	end  context.CancelFunc
}

func (w *trip) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if w.on != "" && strings.Contains(w.text.String(), w.on) {
		w.end()
	}
	return len(p), nil
}

func (w *trip) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// runUntil runs bench, and ends it as a signal does once it has said on in stdout or stderr.
func runUntil(t *testing.T, on string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, errs := &trip{on: on, end: cancel}, &trip{on: on, end: cancel}
	code = run(ctx, args, out, errs)
	return code, out.String(), errs.String()
}

// TestStoppedCommandsPrintWhatTheyHave: what was measured before a signal is printed, and saved,
// and one line tells of it.
func TestStoppedCommandsPrintWhatTheyHave(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every command")
	}
	for _, c := range []struct {
		args     string
		on, says string
		networks bool
	}{
		{"alltoall -transport inproc,shm -ranks 2 -sizes 64 -peers none -iters 5 -rounds 50", "round 2 of 50: switchyard-shm", "switchyard-inproc", false},
		{"allreduce -short -nodes 1 -rounds 50", "round 2 of 50", "direct", false},
		{"allreduce -short -nodes 2 -rate 0 -rounds 50", "round 2 of 50", "by node", true},
		{"layer -ranks 2 -tokens 8 -dim 8 -experts 4 -rounds 1 -iters 2", "inproc, random", "uniform", false},
		{"layer -ranks 2 -tokens 64 -dim 64 -experts 4 -rounds 1000 -iters 1000 -router uniform", "inproc, uniform", "", false},
		{"route -tokens 64 -dim 8 -rounds 1 -iters 1 -peers none", "8 experts, k = 8", "switchyard", false},
		{"recipe -ranks 2 -tokens 8 -dim 8 -experts 4 -iters 2 -rounds 50 -transport tcp,hybrid", "round 2 of 50: switchyard-hybrid", "switchyard-tcp", false},
		{"routers -steps 1 -routers topk,switch,base", "bench: base", "| switch", false},
		{"lsh -short -no-speed", "no-experts, seed 1", "plain", false},
		{"collisions -seeds 5", "hyperplane", "cross-polytope", false},
		{"algorithms", "16384", "", false},
		{"sim -grid", "Testbed A", "| ours", false},
		{"goldens testdata/goldens/router.json testdata/goldens/router.json", "case 5", "ok, ", false},
		{"overlap -short -tokens 64 -rounds 2 -rates 1000,2000", "links of 2000", "1000", true},
		{"network -short -nodes 2 -each 1 -rate 0 -rounds 50", "case 2 of", "Auto", true},
		{"striped -short", "throttle, parity 1", "none", true},
	} {
		t.Run(c.args, func(t *testing.T) {
			if c.networks && !benchtest.CanMakeNetworks() {
				t.Skip("makes network namespaces")
			}
			args := strings.Fields(c.args)
			if args[0] == "routers" {
				text := filepath.Join(t.TempDir(), "text")
				require.NoError(t, os.WriteFile(text, bytes.Repeat([]byte("a few words\n"), 2000), 0o600))
				args = append(args, "-text", text)
			}
			code, stdout, stderr := runUntil(t, c.on, args...)
			require.Contains(t, []int{0, 130}, code, stderr)
			require.Contains(t, stdout, c.says)
			if code == 0 {
				return // it was done by then
			}
			require.True(t, strings.HasSuffix(stderr, "bench: interrupted\n"), stderr)
			require.Equal(t, 1, strings.Count(stderr, "interrupted"), stderr)
			require.NotContains(t, stderr, "context canceled")
		})
	}
}

// TestCommandsSayHowLongTheyTake, at their start.
func TestCommandsSayHowLongTheyTake(t *testing.T) {
	inputs := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(inputs, []byte("[]"), 0o600))
	long := map[string]string{"models": "../models/testdata/goldens/mixtral", "goldens": "testdata/goldens/router.json testdata/goldens/layer.json", "formats": strings.Repeat("testdata/goldens/formats/hadamard.json ", 9), "sim": "-grid", "plan": "-in " + inputs, "balance": "-plan-only"}
	for _, c := range commands() {
		if c.summary == "" {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		errs := &trip{on: "takes ", end: cancel}
		run(ctx, append([]string{c.name}, strings.Fields(long[c.name])...), new(bytes.Buffer), errs)
		cancel()
		first, _, _ := strings.Cut(errs.String(), "\n")
		for _, building := range []string{"bench: building peer", "bench: skipped"} {
			for strings.HasPrefix(first, building) {
				_, rest, _ := strings.Cut(errs.String(), first+"\n")
				first, _, _ = strings.Cut(rest, "\n")
			}
		}
		require.Regexp(t, "^bench: "+c.name+" takes (a few seconds|about [0-9.]+ (seconds|minutes|hours));", first, errs.String())
	}
}
