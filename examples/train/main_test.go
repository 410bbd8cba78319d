package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// asProgram, where it is set, makes the test binary be the program, as one rank or as the launcher
// of all.
const asProgram = "TRAIN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	leaktest.Main(m)
}

// tiny is a model that trains in no time; every test's flags come on top.
func tiny(more ...string) []string {
	return append([]string{
		"-steps", "3", "-batch", "8", "-groups", "8", "-seq", "8", "-dim", "8", "-heads", "2", "-layers", "4", "-hidden", "8",
		"-experts", "4", "-expert-hidden", "8", "-warmup", "1", "-sample", "20", "-svg", "", "-eval-every", "2",
	}, more...)
}

// short writes a text of which the held-out tenth makes a few tiny batches.
func short(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/text"
	require.NoError(t, os.WriteFile(path, generate(1, 3000), 0o600))
	return path
}

func TestBadFlagsAreReportedAtOnce(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"-ranks", "0", "-steps", "many", "-transport", "pigeon", "-lr", "NaN", "-topk", "3"}, &stdout, &stderr)
	require.Equal(t, usageCode, code)
	require.Empty(t, stdout.String())
	for _, want := range []string{
		"-ranks 0: must be an integer from 1 to 1024",
		"-steps many: must be an integer from 1",
		"-transport pigeon: must be one of inproc, hybrid, shm, tcp, grpc, striped",
		"-lr NaN: must be a number from",
	} {
		require.Contains(t, stderr.String(), want)
	}
	require.NotContains(t, stderr.String(), "-topk")
}

func TestContradictingFlags(t *testing.T) {
	_, err := parse([]string{"-dim", "10", "-heads", "4", "-topk", "9", "-experts", "8", "-batch", "9", "-groups", "4", "-layers", "1"}, nil)
	for _, want := range []string{
		"-dim 10: must be a multiple of -heads 4", "-topk 9: must be at most -experts 8",
		"-batch 9: must be a multiple of -groups 4", "-layers 1: must be at least 2",
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = parse([]string{"-compress", "0.2", "-hash", "random", "-micro", "2"}, nil)
	require.ErrorContains(t, err, "-hash random: goes with -micro 1 alone")
	_, err = parse([]string{"more"}, nil)
	require.ErrorContains(t, err, `unexpected argument "more"`)
	_, err = parse([]string{"-nonsense"}, nil)
	require.ErrorContains(t, err, "-nonsense")
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(context.Background(), []string{"-h"}, &stdout, &stderr))
	require.Empty(t, stderr.String())
	for _, want := range []string{"-ranks", "(default 4)", "-topk", "one JSON object"} {
		require.Contains(t, stdout.String(), want)
	}
}

func TestComplainPrintsEveryRank(t *testing.T) {
	var stderr bytes.Buffer
	err := errors.Join(failure{0, errors.New("a")}, failure{2, errors.New("b")})
	require.Equal(t, failedCode, conclude(context.Background(), err, &stderr))
	require.Equal(t, "train: rank 0: a\ntrain: rank 2: b\n", stderr.String())
}

func TestMissingTextFails(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, failedCode, run(context.Background(), tiny("-ranks", "1", "-text", "/nonexistent"), &stdout, &stderr))
	require.Contains(t, stderr.String(), "/nonexistent")
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	require.Equal(t, 130, run(ctx, tiny("-ranks", "2", "-text", short(t)), &stdout, &stderr))
	require.Equal(t, "train: interrupted\n", stderr.String())
}

func TestRelayDrawsBarsOverEachOther(t *testing.T) {
	var terminal bytes.Buffer
	drawn := false
	r := relay{&terminal, &drawn}
	for _, line := range []string{"text\n", "\rone\n", "\rtwo\n", "oops\n", "\rthree\n", "\n", "end\n"} {
		n, err := r.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
	}
	want := strings.ReplaceAll("text\n\rone#\rtwo#\noops\n\rthree#\nend\n", "#", erase)
	require.Equal(t, want, terminal.String())
}

// clearLauncher skips a test that starts ranks where the tests themselves run under a launcher.
func clearLauncher(t *testing.T) {
	t.Helper()
	if isRank, err := launched(options{}); isRank || err != nil {
		t.Skip("the tests run as a rank of a job")
	}
}
