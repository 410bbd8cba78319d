package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// childVariable has the test binary stand in for a program to launch.
const childVariable = "SWITCHYARD_LAUNCH_EXAMPLE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		_, _ = os.Stdout.WriteString("rank " + os.Getenv("RANK") + " of " + os.Getenv("WORLD_SIZE"))
		if os.Getenv("RANK") == "1" && os.Getenv("TORCHELASTIC_RESTART_COUNT") == "0" {
			os.Exit(9)
		}
		os.Exit(0)
	}
	leaktest.Main(m)
}

func TestLaunch(t *testing.T) {
	t.Setenv(childVariable, "yes")
	var stdout, stderr bytes.Buffer
	require.Equal(t, 9, run([]string{"-n", "2", "--", os.Args[0]}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "[1] rank 1 of 2\n")
	require.Contains(t, stderr.String(), "launch: rank 1 failed first: exit status 9\n")

	stdout.Reset()
	require.Equal(t, 0, run([]string{os.Args[0]}, &stdout, &stderr))
	require.Equal(t, "[0] rank 0 of 1\n", stdout.String())
}

// TestRestart: all ranks are started again, and the output says so.
func TestRestart(t *testing.T) {
	t.Setenv(childVariable, "yes")
	var stdout, stderr bytes.Buffer
	require.Equal(t, 0, run([]string{"-n", "2", "-restarts", "3", "--", os.Args[0]}, &stdout, &stderr))
	require.Equal(t, "launch: rank 1 failed first: exit status 9; all ranks start again: restart 1 of 3\n", stderr.String())
	require.Equal(t, 2, strings.Count(stdout.String(), "[1] rank 1 of 2\n"))
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, 0, "usage: go run ./examples/launch"},
		{[]string{"-n", "2"}, 2, "no program to launch"},
		{[]string{"-n", "0", "true"}, 2, "-n 0: want 1 to 1024"},
		{[]string{"-n", "x", "true"}, 2, `invalid value "x" for flag -n`},
		{[]string{"-port", "65535", "true"}, 2, "-port 65535: want 1 to 65534"},
		{[]string{"-restarts", "-1", "true"}, 2, "-restarts -1: want 0 or more"},
		{[]string{"-grace", "0s", "true"}, 2, "-grace 0s: want 1ms or more"},
		{[]string{"/no/such/program"}, 1, "starting rank 0"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(c.args, &stdout, &stderr), c.args)
		require.Contains(t, stdout.String()+stderr.String(), c.says, c.args)
	}
}

func TestPrefixStandsOnce(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.NotZero(t, run([]string{"--", "no-such-program"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "launch: starting rank 0")
	require.NotContains(t, stderr.String(), "launch: launch:")
}
