package docscmd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIn(t *testing.T) {
	for line, want := range map[string][][]string{
		"nothing":                              nil,
		"    go run ./x a -b c    # as root\n": {{"a", "-b", "c"}},
		"(`go run ./x a`, and `go run ./x b -c`, as root)":               {{"a"}, {"b", "-c"}},
		"for r in 1 2; do go run ./x -r $r -j r$r.json >/dev/null; done": {{"-r", "$r", "-j", "r$r.json"}},
		"go run ./x a; go run ./x b && c":                                {{"a"}, {"b"}},
		"`go run ./x …`":                                                 nil,
	} {
		require.Equal(t, want, in(line, "go run ./x"), line)
	}
}

func TestOf(t *testing.T) {
	lines, err := Of("../..", "go run ./bench")
	require.NoError(t, err)
	require.Greater(t, len(lines), 20)
	require.Contains(t, lines, []string{"network", "-k", "8"})
	_, err = Of("/nonexistent", "x")
	require.Error(t, err)
}
