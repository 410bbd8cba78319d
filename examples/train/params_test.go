package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/gemm"
)

var (
	update = flag.Bool("update", false, "write the golden files of testdata; read the difference before keeping it")
	whole  = flag.Bool("whole", false, "also train the model of the default flags with every option, straight and resumed, which takes minutes")
)

// trainings are command lines, each of which trains to parameters of known bits.
func trainings() []string {
	list := []string{
		"", "-ranks 1", "-ranks 3", "-overlap 2", "-overlap 4", "-micro 2", "-micro 4 -overlap 2", "-no-experts", "-capacity 0",
		"-compress 0.2", "-compress 0.2 -compensation identity", "-compress 0.2 -compensation none",
		"-compress 0.2 -compensation learned-gain", "-compress 0.2 -compensation learned-channels",
		"-compress 0.2 -refine 2", "-compress 0.2 -hash hyperplane", "-compress 0.2 -hash random",
		"-compress 0.2 -compress-nodes -node-ranks 2", "-compress 0.2 -compress-from 5 -compress-until 15",
		"-compress 0.2 -overlap 2 -micro 2", "-algorithm rails -node-ranks 2", "-algorithm bruck",
		"-wire bf16", "-wire fp8", "-wire int8",
	}
	for _, name := range routerNames()[1:] {
		list = append(list, "-router "+name)
	}
	return list
}

// transported are command lines that start processes.
func transported() []string {
	return []string{"-transport tcp", "-transport shm", "-transport hybrid", "-transport grpc", "-transport striped"}
}

// digestOf trains with some flags for a number of steps from seed 7, and returns a digest of the
// parameters.
func digestOf(t *testing.T, steps int, args []string) string {
	t.Helper()
	path := t.TempDir() + "/result.json"
	args = append(args, "-steps", fmt.Sprint(steps), "-seed", "7", "-sample", "0", "-eval-every", "0", "-svg", "", "-progress", "none", "-json", path)
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(context.Background(), args, &stdout, &stderr), "%v: %s", args, &stderr)
	return readResult(t, path).ParamSHA256
}

// TestParametersAsRecorded holds the digest of the parameters after 20 steps against those of an
// earlier version, for each router and option: with -short for a few, with -whole for the default
// model too.
func TestParametersAsRecorded(t *testing.T) {
	if !gemm.Exact || runtime.GOARCH != "amd64" {
		t.Skip("elsewhere the compiler may join a product and a sum, or products have other bits")
	}
	clearLauncher(t)
	text := short(t)
	lines := trainings()
	if testing.Short() {
		lines = lines[:3]
	} else {
		t.Setenv(asProgram, "1")
		lines = append(lines, transported()...)
	}
	compareDigests(t, "testdata/params_tiny.txt", lines, func(args []string) []string {
		return tiny(append(args, "-text", text)...)
	})
	if *whole {
		compareDigests(t, "testdata/params_default.txt", append(trainings(), transported()...), func(args []string) []string { return args })
	}
}

// asRecorded is the flags of a line, with the defaults of compression when digests were recorded.
func asRecorded(line string) []string {
	if !strings.Contains(line, "-compress") {
		return strings.Fields(line)
	}
	return strings.Fields("-refine -1 -bandwidth 3 -ridge 0.03 -compress-gradients clusters -wire float32 " + line)
}

// compareDigests compares what each line trains to with a file, or writes that under -update.
func compareDigests(t *testing.T, file string, lines []string, args func([]string) []string) {
	t.Helper()
	got := map[string]string{}
	var all strings.Builder
	for _, line := range lines {
		got[line] = digestOf(t, 20, args(asRecorded(line)))
		fmt.Fprintf(&all, "%s %s\n", got[line], line)
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(all.String()), 0o644))
	}
	want := map[string]string{}
	recorded, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(recorded)) {
		digest, flags, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		want[flags] = digest
	}
	for _, line := range lines {
		require.Equal(t, want[line], got[line], "train %s", line)
	}
}
