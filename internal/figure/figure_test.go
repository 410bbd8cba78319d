package figure

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/switchyard-moe/switchyard/internal/svgtest"
)

// chart has long labels and numbers.
func chart(t *testing.T) *plot.Plot {
	p := New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "A title with some words in it", "Horizontal words", "Vertical words\nin two lines"
	line, err := plotter.NewLine(plotter.XYs{{X: 0, Y: 0}, {X: 1e6, Y: 123456}})
	require.NoError(t, err)
	p.Add(line)
	p.Legend.Add("one of many lines", line)
	p.Legend.Add("another", line)
	return p
}

func TestSVGIsReadable(t *testing.T) {
	for _, size := range []vg.Length{260, 500} {
		path := filepath.Join(t.TempDir(), "x.svg")
		require.NoError(t, Save(path, size, size, chart(t)))
		svg, err := os.ReadFile(path)
		require.NoError(t, err)
		svgtest.Readable(t, svg, "chart")
		require.Contains(t, string(svg), "text-anchor:end")
		require.Contains(t, string(svg), "text-anchor:middle")
		require.NotContains(t, string(svg), "\ue001")
	}
}

// TestPlainGonumIsNot: the check finds what charts of gonum do where Liberation is missing.
func TestPlainGonumIsNot(t *testing.T) {
	p := plot.New()
	p.Title.Text = "A title"
	path := filepath.Join(t.TempDir(), "x.svg")
	require.NoError(t, p.Save(200, 200, path))
	svg, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(svg), "sans-serif")
}

func TestOtherFormats(t *testing.T) {
	for ending, begins := range map[string]string{"png": "\x89PNG", "pdf": "%PDF", "eps": "%%!PS", "PNG": "\x89PNG"} {
		path := filepath.Join(t.TempDir(), "x."+ending)
		require.NoError(t, Save(path, 200, 200, chart(t)))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(data), begins), ending)
	}
	require.ErrorContains(t, Format("a.doc"), `"a.doc"`)
	require.Error(t, Format("svg"))
	require.Error(t, Save(filepath.Join(t.TempDir(), "x.doc"), 200, 200, chart(t)))
}

func TestFit(t *testing.T) {
	p := New()
	p.Title.Text = "a very long title that is to fit"
	Fit(p, 50)
	require.LessOrEqual(t, float64(p.Title.TextStyle.Width(p.Title.Text)), 50.001)
	size := p.Title.TextStyle.Font.Size
	Fit(p, 500)
	require.Equal(t, size, p.Title.TextStyle.Font.Size)
}
