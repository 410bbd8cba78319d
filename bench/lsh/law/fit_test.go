package law

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/svgtest"
)

// TestFitFindsTheLaw that samples were made of, and says how far they are from it.
func TestFitFindsTheLaw(t *testing.T) {
	want := power{at: 0.24, b: 0.26, c: 0.41}
	var list []sample
	for _, n := range []int{64, 256, 1024, 4096} {
		for _, rate := range []float64{0.05, 0.1, 0.2, 0.4} {
			list = append(list, sample{n, rate, 0.24 * math.Pow(float64(n)/1024, -0.26) * math.Pow(rate/0.2, -0.41)})
		}
	}
	got, ok := fitPower(list)
	require.True(t, ok)
	require.InDelta(t, want.at, got.at, 1e-6)
	require.InDelta(t, want.b, got.b, 1e-6)
	require.InDelta(t, want.c, got.c, 1e-6)
	require.InDelta(t, 1, got.spread, 1e-6)
	for i := range list {
		list[i].error *= []float64{1.2, 1 / 1.2}[i%2]
	}
	got, ok = fitPower(list)
	require.True(t, ok)
	require.Greater(t, got.spread, 1.1)
	require.Less(t, got.spread, 1.21)

	of, ok := fitPower([]sample{{64, 0.2, 0.4}, {256, 0.2, 0.2}})
	require.True(t, ok)
	require.Zero(t, of.c, "one rate")
	require.InDelta(t, 0.5, of.b, 1e-9)
	_, ok = fitPower(list[:4])
	require.False(t, ok, "one number of rows")
	_, ok = fitPower(nil)
	require.False(t, ok)
}

// measured are outcomes that follow laws, of two blocks.
func measured() (list []outcome) {
	add := func(variant string, rate float64, rows int, output, values float64) {
		for _, block := range []string{"block1", "block3"} {
			list = append(list, outcome{Task: Task, Seed: 1, Block: block, Variant: variant, Rate: rate, Rows: rows, Output: output, Weights: output, Values: values})
		}
	}
	for _, n := range []int{64, 256, 1024, 4096, 16384} {
		for i, variant := range []string{"paper", "none-refined", "bandwidth-3", "clusters-all-legs"} {
			add(variant, 0.2, n, math.Pow(float64(n)/256, -0.25)/float64(i+1), 0.9)
		}
	}
	add("fp8", 1, 0, 0.03, 0.04)
	add("nvfp4", 1, 0, 0.11, 0.14)
	add("mxfp4", 1, 0, 0.13, 0.16)
	return list
}

// lossesOf are trainings of two seeds that lose 6·weights² + 0.2·(rows' gradients)².
func lossesOf(list []outcome) (trained []training) {
	for i, o := range list {
		lost := 6*o.Weights*o.Weights + 0.2*o.Values*o.Values
		rows := o.Rows
		if rows == 0 {
			rows = 1024
		}
		trained = append(trained, training{Task: "finetune", Seed: i%2 + 1, Variant: o.Variant, Rows: rows, Rate: o.Rate, Loss: 1.7, Gain: 1 - lost})
	}
	return trained
}

// TestRelation finds the slopes that losses were made with, and leaves out summaries where there
// are seeds.
func TestRelation(t *testing.T) {
	list := measured()
	trained := append(lossesOf(list), training{Task: "finetune", Variant: "nvfp4", Rows: 1024, Rate: 1, Gain: -7}, training{Task: "finetune", Variant: "unknown", Rows: 1024})
	pairs := pairsOf(seriesOf(list), trained)
	require.Len(t, pairs, 23)
	a, b, left, ok := fitLoss(pairs)
	require.True(t, ok)
	require.InDelta(t, 6, a, 1e-6)
	require.InDelta(t, 0.2, b, 1e-6)
	require.InDelta(t, 0, left, 1e-6)
	for _, p := range pairs {
		require.Equal(t, 2, p.seeds)
	}
	_, _, _, ok = fitLoss(pairs[:2])
	require.False(t, ok, "too few")

	p := pair{variant: "none-refined-40", rows: 64}
	require.True(t, p.find(seriesOf([]outcome{{Variant: "none-refined", Rate: 0.4, Rows: 64, Output: 0.3}}), 0.4), "a name that ends in the rate")
	require.Equal(t, ofAllLegs, p.family)
	require.InDelta(t, 0.5, training{Task: "lm", Kept: 0.5, Gain: 9}.lost(), 1e-9)
}

// TestMostTokensCount: errors over fewer tokens are left out of a mean.
func TestMostTokensCount(t *testing.T) {
	few := outcome{Variant: "paper", Rate: 0.2, Rows: 64, Tokens: 100, Output: 0.8}
	many, other := few, few
	many.Tokens, many.Output, other.Tokens, other.Output = 200, 0.3, 200, 0.4
	for _, list := range [][]outcome{{few, many, other}, {many, few, other}, {many, other, few}} {
		m := seriesOf(list)[0].at[64]
		require.Equal(t, 2, m.n)
		require.InDelta(t, math.Sqrt((0.09+0.16)/2), m.errorOutput(), 1e-9)
	}
}

// TestReport prints laws and losses, and draws what can be read in any font.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	file, losses, picture := filepath.Join(dir, "errors.json"), filepath.Join(dir, "losses.json"), filepath.Join(dir, "law.svg")
	for _, o := range measured() {
		require.NoError(t, appendOutcome(file, o))
	}
	var lines []byte
	for _, l := range lossesOf(measured()) {
		line, err := json.Marshal(l)
		require.NoError(t, err)
		lines = append(append(lines, line...), '\n')
	}
	speed := `{"task":"finetune","variant":"fp8","seed":1,"rows":1024,"rate":1,"val_loss":0,"gain":0,"speedup":2}` + "\n"
	lines = append(lines, speed...) // nothing was trained
	require.NoError(t, os.WriteFile(losses, lines, 0o600))
	for _, more := range [][]string{nil, {"-losses", losses}} {
		var out bytes.Buffer
		require.Zero(t, Run(t.Context(), append([]string{"-in", file, "-svg", picture}, more...), &out, &out), "%s", &out)
		require.Contains(t, out.String(), "within a factor")
		require.Regexp(t, `rate of 0.20 keep  0.80 from \d+ rows`, out.String())
		require.Equal(t, more != nil, bytes.Contains(out.Bytes(), []byte("finetune: lost = 6.00·weights² + 0.20·(rows' gradients)², ± 0.000")), "%s", &out)
		text, err := os.ReadFile(picture)
		require.NoError(t, err)
		svgtest.Readable(t, text, "law")
		require.Contains(t, string(text), "all rows in nvfp4")
	}
	require.Error(t, drawLaw(picture, nil, nil), "nothing to draw")
	require.NoError(t, os.WriteFile(losses, []byte("x\n"), 0o600))
	var out bytes.Buffer
	require.NotZero(t, Run(t.Context(), []string{"-in", file, "-losses", losses}, &out, &out))
	require.Contains(t, out.String(), "line 1")
}
