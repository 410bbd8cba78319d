package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// command runs the command on cases given as JSON and returns its exit code, results and
// complaints.
func command(t *testing.T, cases string) (code int, results []result, stderr string) {
	in, out := filepath.Join(t.TempDir(), "in.json"), filepath.Join(t.TempDir(), "out.json")
	require.NoError(t, os.WriteFile(in, []byte(cases), 0o600))
	var stdout, errs bytes.Buffer
	code = Run(context.Background(), []string{"-in", in, "-json", out}, &stdout, &errs)
	if data, err := os.ReadFile(out); err == nil {
		require.NoError(t, json.Unmarshal(data, &results))
	}
	return code, results, errs.String()
}

func TestByHand(t *testing.T) {
	code, results, stderr := command(t, `[
		{"a2a":{"alpha":1,"beta":2,"n":8},"ag":{"alpha":1,"beta":1,"n":8},"rs":{"alpha":1,"beta":1,"n":8},"exp":{"alpha":1,"beta":5,"n":8},"gar":0,"degrees":[1,2]},
		{"a2a":{"alpha":1,"beta":2,"n":8},"ag":{"alpha":1,"beta":1,"n":8},"rs":{"alpha":1,"beta":1,"n":8},"exp":{"alpha":1,"beta":5,"n":8},"gar":100,"degrees":[2,1]},
		{"a2a":{"alpha":0,"beta":1,"n":6},"ag":{"alpha":0,"beta":0,"n":0},"rs":{"alpha":0,"beta":0,"n":0},"exp":{"alpha":0,"beta":0,"n":0},"degrees":[3,1]}
	]`)
	require.Zero(t, code, stderr)
	require.Equal(t, []result{
		// In one piece 17+9+41+9+17; in two, experts without a pause: 9+5, two of 21, 5+9.
		{MS: []float64{93, 70}, Choice: 2},
		// The link is busy from end to end: 2 dispatches, the gradients, 2 combines.
		{MS: []float64{136, 134}, Choice: 1},
		// Equally long: the first.
		{MS: []float64{12, 12}, Choice: 3},
	}, results)
}

// TestIsFSMoEsFormula: for equal all-gather and reduce-scatter the makespan is the largest of
// the four cases.
func TestIsFSMoEsFormula(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 9))
	for range 2000 {
		op := func() *planOp { return &planOp{random.Float64(), random.Float64() / 10, 100 * random.Float64()} }
		c := planCase{A2A: op(), AG: op(), Exp: op(), GAR: 30 * random.Float64(), Degrees: []int{1, 2, 3, 4, 8}}
		c.RS = c.AG
		require.NoError(t, c.validate())
		result := c.plan()
		best := math.Inf(1)
		for i, d := range c.Degrees {
			r := float64(d)
			time := func(o *planOp) float64 { return o.Alpha + o.Beta*o.N/r }
			a2a, pair, experts := time(c.A2A), 2*time(c.AG), time(c.Exp)
			want := max(2*r*a2a+c.GAR, 2*a2a+pair+r*experts, 2*r*a2a+pair, 2*a2a+r*pair)
			require.InEpsilon(t, want, result.MS[i], 1e-9)
			best = min(best, want)
			if d == result.Choice {
				require.LessOrEqual(t, result.MS[i], best*(1+1e-9))
			}
		}
		for _, ms := range result.MS {
			require.GreaterOrEqual(t, ms, best*(1-1e-9))
		}
	}
}

func TestRefuses(t *testing.T) {
	const ops = `"a2a":{"n":1},"ag":{"n":1},"rs":{"n":1},"exp":{"n":1}`
	for cases, says := range map[string]string{
		`{}`:                                     "cannot unmarshal object",
		`[{}]`:                                   "exchange 0: ",
		`[{"a2a":{},"degrees":[1]}]`:             "exp is missing",
		`[{` + ops + `}]`:                        "degrees: want at least one",
		`[{` + ops + `,"degrees":[1,0]}]`:        "degree 0; must be 1 to 65536",
		`[{` + ops + `,"degrees":[1],"gar":-1}]`: "gar -1; must not be negative",
		`[{"a2a":{"alpha":-1,"n":1},` + ops[len(`"a2a":{"n":1},`):] + `,"degrees":[1]}]`: "a2a: alpha -1, beta 0, n 1; must not be negative",
	} {
		code, _, stderr := command(t, cases)
		require.Equal(t, harness.Failed, code, cases)
		require.Contains(t, stderr, says)
	}
	var stdout, stderr bytes.Buffer
	require.Equal(t, harness.Misused, Run(t.Context(), nil, &stdout, &stderr))
	require.Contains(t, stderr.String(), "-in must name a file")
	require.Equal(t, harness.Failed, Run(t.Context(), []string{"-in", filepath.Join(t.TempDir(), "none")}, &stdout, &stderr))
	require.Zero(t, Run(t.Context(), []string{"-h"}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "usage: go run ./bench plan")
}
