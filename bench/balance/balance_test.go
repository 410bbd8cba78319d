package balance

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-plan-only", "-short", "-load", "hot,lognormal", "-planners", "plain,balanced"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{1000}, o.Rates)
	require.Equal(t, []string{"hot", "lognormal"}, o.Loads)
	_, err = parseOptions([]string{"-ranks", "1", "-tokens", "0", "-dim", "0", "-hidden", "0", "-experts", "0", "-k", "0", "-group", "0", "-slots", "-1",
		"-steps", "0", "-gflops", "0", "-rounds", "0", "-rates", "x", "-load", "odd", "-planners", "odd"}, io.Discard)
	for _, name := range []string{"-ranks 1", "-tokens 0", "-dim 0", "-hidden 0", "-experts 0", "-k 0", "-group 0", "-slots -1", "-steps 0", "-gflops 0", "-rounds 0",
		`-rates "x"`, `-load "odd"`, `-planners "odd"`} {
		require.ErrorContains(t, err, name)
	}
}

// TestPlanOnly: all planners under all loads but a trace, in the table and as JSON.
func TestPlanOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	code, stdout, stderr := benchtest.Call(t, Run, "-plan-only", "-short", "-load", "even,zipf,hot,lognormal", "-json", file)
	require.Zero(t, code, stderr)
	require.Equal(t, 1+4*len(plannerNames()), strings.Count(stdout, "\n"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var r row
		require.NoError(t, d.Decode(&r))
		require.Equal(t, 4, r.Ranks)
		require.Positive(t, r.MS)
		switch {
		case r.Who == "plain", r.Load == "even" && r.Who != "eplb":
			require.Equal(t, 1.0, r.OfPlain, "%+v", r)
			require.Zero(t, r.Copies)
		case r.Who == "balanced":
			require.Less(t, r.After, r.Before, "%+v", r)
			require.Less(t, r.OfPlain, 0.96, "%+v", r)
		}
	}
	code, _, stderr = benchtest.Call(t, Run, "-plan-only", "-short", "-load", "trace", "-trace", "none")
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "none")
}
