package route

import (
	"bytes"
	"context"
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

func TestEndToEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	code, stdout, stderr := benchtest.Call(t, Run, "-tokens", "64", "-rounds", "2", "-iters", "3", "-json", file)
	require.Zero(t, code, stderr)
	if strings.Contains(stdout, "# skipped torch: ") {
		t.Log(stdout)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	ours := 0
	for decoder := json.NewDecoder(bytes.NewReader(text)); decoder.More(); {
		var r row
		require.NoError(t, decoder.Decode(&r))
		require.Positive(t, r.P50)
		require.Equal(t, 64, r.Tokens)
		if r.Who == harness.Name {
			ours++
			require.Equal(t, 1.0, r.Ratio)
		}
	}
	require.Equal(t, 9, ours, "three numbers of experts, three of choices")
}

func TestWithoutTorch(t *testing.T) {
	o, err := parse(strings.Fields("-tokens 8 -rounds 1 -iters 1"), nil)
	require.NoError(t, err)
	o.pythons = []string{filepath.Join(t.TempDir(), "no-python")}
	var out bytes.Buffer
	require.NoError(t, o.compare(t.Context(), &out, io.Discard))
	require.Contains(t, out.String(), "# skipped torch: ")
	require.Contains(t, out.String(), "to compare with it: apt-get install python3-torch libopenblas0")

	_, stdout, _ := benchtest.Call(t, Run, "-tokens", "8", "-rounds", "1", "-iters", "1", "-peers", "none")
	require.NotContains(t, stdout, "torch")
}

func TestBadFlags(t *testing.T) {
	for args, says := range map[string]string{
		"-tokens 0": "-tokens 0: want 1 to", "-iters -1": "-iters -1: want 1 to", "-peers jax": `-peers "jax": want torch or none`,
		"more": `"more": route takes flags only`, "-nonsense": "-nonsense",
	} {
		code, _, stderr := benchtest.Call(t, Run, strings.Fields(args)...)
		require.Equal(t, harness.Misused, code, args)
		require.Contains(t, stderr, says)
	}
	code, stdout, _ := benchtest.Call(t, Run, "-h")
	require.Zero(t, code)
	require.Contains(t, stdout, "usage: go run ./bench route")
	code, _, stderr := benchtest.Call(t, Run, "-tokens", "8", "-rounds", "1", "-iters", "1", "-peers", "none", "-json", t.TempDir())
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "-json: open ")
}

// liar finds other counts than anybody else.
type liar struct{ our }

func (liar) name() string { return "liar" }

func (l liar) turn(file string, tokens, experts, k, iterations int) (turn, error) {
	t, err := l.our.turn(file, tokens, experts, k, iterations)
	t.counts[0]++
	return t, err
}

func TestContestantsMustAgree(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logits")
	require.NoError(t, writeLogits(file, 16, 4))
	o := options{tokens: 16, rounds: 1, iterations: 1}
	us := our{dim: 4}
	_, err := o.duel(context.Background(), []contestant{us, liar{us}}, file, 4, 2)
	require.ErrorContains(t, err, "liar finds other counts")
}
