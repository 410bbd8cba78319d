package router

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireNames requires that each of n values has a name of its own, and that those beside them
// print as numbers of their type.
func requireNames[T interface {
	~int
	fmt.Stringer
}](t *testing.T, kind string, n int) {
	t.Helper()
	seen := map[string]bool{}
	for v := range T(n) {
		seen[v.String()] = true
		require.NotContains(t, v.String(), kind)
	}
	require.Len(t, seen, n, kind)
	for _, v := range []T{-1, T(n)} {
		require.Equal(t, fmt.Sprintf("%s(%d)", kind, int(v)), v.String())
	}
}

func TestNames(t *testing.T) {
	requireNames[Formula](t, "Formula", formulas)
	requireNames[Drop](t, "Drop", drops)
	requireNames[Scope](t, "Scope", scopes)
	requireNames[GroupScore](t, "GroupScore", groupScores)
	requireNames[Noise](t, "Noise", noises)
	requireNames[Renormalize](t, "Renormalize", renormalizes)
	requireNames[Curve](t, "Curve", curves)
	requireNames[Score](t, "Score", scores)
}

// TestFirstUnknownValues: the first number beyond the known ones is refused as others are.
func TestFirstUnknownValues(t *testing.T) {
	for says, config := range map[string]Router{
		fmt.Sprintf("unknown score %d", scores):                 TopK{K: 1, Score: Score(scores)},
		fmt.Sprintf("unknown renormalisation %d", renormalizes): TopK{K: 1, Renormalize: Renormalize(renormalizes)},
		fmt.Sprintf("unknown drop rule %d", drops):              TopK{K: 1, Drop: Drop(drops)},
		fmt.Sprintf("unknown noise %d", noises):                 NoisyTopK{TopK: TopK{K: 1}, Noise: Noise(noises)},
		fmt.Sprintf("unknown group score %d", groupScores):      GroupLimited{TopK: TopK{K: 1}, Groups: 2, Keep: 1, GroupScore: GroupScore(groupScores)},
	} {
		_, err := config.New(Shape{Dim: 2, Experts: 4})
		require.ErrorContains(t, err, says)
	}
}

// TestTextOfAReplay says whether the recorded experts are all, or a router decides the rest.
func TestTextOfAReplay(t *testing.T) {
	require.Equal(t, "{Layer:2}", Replay{Layer: 2}.String())
	text := Replay{Layer: 2, Live: &TopK{K: 3}}.String()
	require.Contains(t, text, "{Layer:2 Live:")
	require.Contains(t, text, "K:3")
}
