package textwidth

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
)

// TestWiderThanLiberation: no character is wider in Liberation Sans, which has the widths of Arial
// and Helvetica, but for rounding.
func TestWiderThanLiberation(t *testing.T) {
	cache := font.NewCache(liberation.Collection())
	face := cache.Lookup(font.Font{Typeface: "Liberation", Variant: "Sans"}, 100)
	for r := ' '; r <= '~'; r++ {
		require.GreaterOrEqual(t, Of(string(r), 100)+0.1, float64(face.Width(string(r))), "%c", r)
	}
	for _, text := range []string{"step time, ms", "0123456789", "rank 12 compute", "learning to predict"} {
		require.Greater(t, Of(text, 100), float64(face.Width(text)), text)
	}
}

func TestOf(t *testing.T) {
	require.Zero(t, Of("", 12))
	require.InDelta(t, 12*0.637*3, Of("123", 12), 1e-9)
	require.InDelta(t, 12*(0.637+0.521), Of("µs", 12), 1e-9)
	require.InDelta(t, 24, Of("漢字", 12), 1e-9)
}
