package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// resumptions are command lines that end with the same bits when they are resumed on any number of
// ranks.
func resumptions() []string {
	list := []string{
		"-optimizer adamw", "-optimizer sgd", "-micro 2", "-micro 4 -overlap 2 -optimizer sgd", "-overlap 4", "-algorithm bruck",
		"-wire bf16", "-no-experts", "-clip 0.5", "-clip 0.5 -micro 2 -optimizer sgd",
	}
	for _, name := range routerNames()[1:] {
		list = append(list, "-router "+name)
	}
	return append(list, "-router several -micro 2 -optimizer sgd", "-router sigmoid-bias -micro 2", "-router smoe-dropout -micro 2")
}

// compressed are command lines that do so on the same number of ranks.
func compressed() []string {
	return slices.DeleteFunc(trainings(), func(line string) bool { return !strings.HasPrefix(line, "-compress") })
}

// TestWholeTableOfResumes trains for 40 steps straight, and for 17 on 4 ranks and the rest on
// others, with every option: with -whole alone, which takes long with the default model. A row is a
// test. All but one of the default model learn the start of the text, which saves most of the
// evaluation.
func TestWholeTableOfResumes(t *testing.T) {
	if !*whole {
		t.Skip("takes long: with -whole")
	}
	clearLauncher(t)
	t.Run("tiny", func(t *testing.T) { wholeTable(t, tiny("-text", short(t))) })
	t.Run("default", func(t *testing.T) {
		wholeTable(t, startOfText(t))
		tableRow(t, "-seed 7", nil, "-ranks 1", "-ranks 2", "-ranks 3", "-ranks 4", "-ranks 8")
	})
}

// wholeTable has a row for each option of a model.
func wholeTable(t *testing.T, model []string) {
	for _, line := range resumptions() {
		tableRow(t, line, model, "-ranks 1", "-ranks 2", "-ranks 3", "-ranks 4", "-ranks 8")
	}
	for _, line := range compressed() {
		tableRow(t, line, model, "-ranks 4")
	}
	t.Setenv(asProgram, "1")
	tableRow(t, "-steps 40", model, transported()...)
	tableRow(t, "-micro 2 -optimizer sgd -clip 0.5", model, transported()...)
}

// startOfText is the flag of a text that is the start of the usual one.
func startOfText(t *testing.T) []string {
	t.Helper()
	text, _, err := loadText(t.Context(), "", 1)
	require.NoError(t, err)
	path := t.TempDir() + "/text"
	require.NoError(t, os.WriteFile(path, text[:1<<15], 0o600))
	return []string{"-text", path}
}

// tableRow logs the digest of a command line of a model, and requires that of each way to resume
// it.
func tableRow(t *testing.T, line string, model []string, ways ...string) {
	t.Run(line, func(t *testing.T) {
		const steps, stop = 40, 17
		flags := append(concat(model, "-ranks", "4"), strings.Fields(line)...)
		want, dir := digestOf(t, steps, flags), t.TempDir()
		require.NotEqual(t, want, digestOf(t, steps, concat(flags, "-stop-after", fmt.Sprint(stop), "-save", dir)))
		for _, way := range ways {
			got := digestOf(t, steps, append(concat(flags, strings.Fields(way)...), "-resume", dir))
			require.Equal(t, want, got, "resumed with %s", way)
		}
		t.Logf("%.16s train %s: resumed with %s", want, line, strings.Join(ways, ", "))
	})
}
