package neartest

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompare(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		want, got []float64
		delta     float64
		says      string
	}{
		{nil, nil, 0, ""},
		{[]float64{1, 2}, []float64{1.1, 2}, 0.11, ""},
		{[]float64{nan, inf, -inf}, []float64{nan, inf, -inf}, 0, ""},
		{[]float64{1, 2}, []float64{1}, 10, "1 elements, want 2"},
		{[]float64{1}, nil, 10, "0 elements, want 1"},
		{[]float64{1}, []float64{1, 2}, 10, "2 elements, want 1"},
		{[]float64{1, 2}, []float64{1, 2.5}, 0.1, "element 1 is 2.5, want 2, at most 0.1 away"},
		{[]float64{1, 2, 3}, []float64{2, 3, 3}, 0.1, "element 0 is 2, want 1, at most 0.1 away (and 1 more of 3)"},
		{[]float64{1}, []float64{nan}, 10, "element 0 is NaN, want 1"},
		{[]float64{nan}, []float64{1}, 10, "element 0 is 1, want NaN"},
		{[]float64{inf}, []float64{-inf}, 10, "element 0 is -Inf, want +Inf"},
		{[]float64{1}, []float64{inf}, 10, "element 0 is +Inf, want 1"},
		{[]float64{1}, []float64{1}, nan, "delta is NaN"},
		{[]float64{1}, []float64{1}, -1, "delta is -1"},
		{[]float64{1}, []float64{1}, inf, "delta is +Inf"},
	} {
		says := Compare(c.want, c.got, c.delta)
		if c.says == "" {
			require.Empty(t, says)
		}
		require.Contains(t, says, c.says)
	}
	require.Empty(t, Compare([]float32{0.5}, []float64{0.5}, 0))
}

// record notes whether a test failed.
type record struct{ failed bool }

func (r *record) Errorf(string, ...any) { r.failed = true }
func (r *record) FailNow()              { r.failed = true }

func TestEqualFailsItsTest(t *testing.T) {
	var r record
	Equal(&r, []float32{1, 2}, []float32{1, 2}, 0)
	require.False(t, r.failed)
	Equal(&r, []float32{1, 2}, []float32{1}, 1)
	require.True(t, r.failed)
}

func TestNumber(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		want, got, delta float64
		fails            bool
	}{
		{1, 1, 0, false}, {1, 1.5, 0.5, false}, {1, 1.6, 0.5, true}, {nan, nan, 1, true}, {1, nan, 1, true},
		{nan, 1, 1, true}, {1, 1, nan, true}, {1, 2, nan, true}, {inf, inf, 1, true}, {1, 2, inf, true},
	} {
		var r record
		Number(&r, c.want, c.got, c.delta)
		require.Equal(t, c.fails, r.failed, c)
	}
}

// TestNobodyUsesWhatPassesTooEasily: testify's InDeltaSlice and InEpsilonSlice do not notice that
// the actual slice is shorter.
func TestNobodyUsesWhatPassesTooEasily(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		seen++
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, name := range []string{"InDelta" + "Slice(", "InDelta" + "Slicef(", "InEpsilon" + "Slice(", "InEpsilon" + "Slicef("} {
			require.NotContains(t, string(text), name, path)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 100)
}
