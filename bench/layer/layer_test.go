package layer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestEndToEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	routes := strings.Join(workload.RouteNames(), ",")
	code, stdout, stderr := benchtest.Call(t, Run, "-transport", "inproc,tcp", "-router", routes, "-ranks", "3", "-experts", "5", "-k", "2",
		"-tokens", "17", "-dim", "33", "-rounds", "2", "-iters", "3", "-json", file)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "3 ranks as goroutines × 17 tokens × dim 33, 5 experts, k = 2")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	seen := map[string]int{}
	for decoder := json.NewDecoder(bytes.NewReader(text)); decoder.More(); {
		var r row
		require.NoError(t, decoder.Decode(&r))
		seen[r.Transport+" "+r.Pass]++
		require.Zero(t, r.Wrong)
		require.Positive(t, r.P50)
		require.Positive(t, r.Least)
		require.InDelta(t, r.Copy/r.P50, r.OfCopy, 1e-9)
		require.InDelta(t, float64(4*3*17*2*33*4)/1e3/r.P50, r.Rate, 1e-9)
	}
	require.Equal(t, map[string]int{"inproc forward": 4, "inproc backward": 4, "tcp forward": 4, "tcp backward": 4}, seen)
}

func TestBadFlags(t *testing.T) {
	for args, says := range map[string]string{
		"-ranks 0": "-ranks 0: want 1 to 64", "-k 17": "-k 17: want 1 to 16", "-transport fax": `-transport "fax": want one or more of`,
		"-router hot -k 16": "-router hot: wants -k 16 below -experts 16", "-tokens 1000000 -dim 1000000": "want at most",
		"more": `"more": layer takes flags only`, "-nonsense": "-nonsense",
	} {
		code, _, stderr := benchtest.Call(t, Run, strings.Fields(args)...)
		require.Equal(t, harness.Misused, code, args)
		require.Contains(t, stderr, says)
	}
	code, stdout, _ := benchtest.Call(t, Run, "-h")
	require.Zero(t, code)
	require.Contains(t, stdout, "usage: go run ./bench layer")
	code, _, stderr := benchtest.Call(t, Run, "-tokens", "2", "-dim", "2", "-json", t.TempDir())
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "-json: open ")
}

// small compares a small layer on one goroutine, without timing anything.
func small(t *testing.T) (*comparison, options) {
	o, err := parse(strings.Fields("-ranks 1 -tokens 9 -dim 4 -experts 3 -iters 1"), nil)
	require.NoError(t, err)
	ends, err := meshInproc(t.Context(), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ends[0].Close()) })
	r, err := workload.NewRank(ends[0], o.Shape, "random")
	require.NoError(t, err)
	return &comparison{options: o, ranks: []*workload.Rank{r}, copiers: newCopiers(o, []*workload.Rank{r})}, o
}

func TestWrongElementsAreCounted(t *testing.T) {
	c, _ := small(t)
	r := c.ranks[0]
	r.Experts.Numbered = true
	require.NoError(t, r.Forward(t.Context(), 5))
	require.NoError(t, r.Backward(t.Context(), 5))
	c.check(5, true)
	require.Equal(t, [2]int{}, c.wrong)
	r.Y.Data[7]++
	r.Dx.Data[0]++
	r.Dx.Data[1]++
	c.check(5, true)
	require.Equal(t, [2]int{1, 2}, c.wrong)
	c.wrong = [2]int{}
	c.check(5, false) // looks at column 1 alone
	require.Equal(t, [2]int{0, 1}, c.wrong)
	c.wrong = [2]int{}
	c.check(6, true) // the tokens of another iteration
	require.Positive(t, c.wrong[0])
}

// TestNumbersTellExpertsApart: had a row been to another expert than its own, the sum would differ.
func TestNumbersTellExpertsApart(t *testing.T) {
	c, _ := small(t)
	r := c.ranks[0]
	r.Experts.Numbered = true
	require.NoError(t, r.Forward(t.Context(), 0))
	require.NoError(t, r.Backward(t.Context(), 0))
	r.Entries[3][0].Expert = (r.Entries[3][0].Expert + 1) % 3
	c.check(0, true)
	require.Equal(t, [2]int{4, 4}, c.wrong)
}

func TestCopiersCopyEveryRow(t *testing.T) {
	c, _ := small(t)
	one := c.copiers[0]
	for _, do := range []func(){one.often, one.seldom} {
		clear(one.y)
		require.Positive(t, one.wrong())
		do()
		require.Zero(t, one.wrong())
	}
}

func TestNoRankJoinsWhereOneCannot(t *testing.T) {
	broken := errors.New("no network card")
	_, err := joinAll(t.Context(), 3, func(ctx context.Context, r transport.Rank) (transport.Transport, error) {
		if r == 1 {
			return nil, broken
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	require.ErrorIs(t, err, broken)
}
