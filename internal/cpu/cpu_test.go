package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// use makes a processor of f for one test.
func use(t *testing.T, f Features) {
	before := usable
	usable = f
	t.Cleanup(func() { usable = before })
}

func TestHasAllThatIsAskedFor(t *testing.T) {
	use(t, AVX2|FMA|AVX512F)
	require.True(t, Has(0))
	require.True(t, Has(FMA))
	require.True(t, Has(AVX2|FMA|AVX512F))
	require.False(t, Has(AVX512DQ))
	require.False(t, Has(AVX2|AVX512DQ))
}

func TestLimitTakesAway(t *testing.T) {
	use(t, AVX2|FMA|PCLMULQDQ)
	undo := Limit(AVX2 | FMA | AVX512F)
	require.True(t, Has(AVX2|FMA))
	require.False(t, Has(PCLMULQDQ))
	require.False(t, Has(AVX512F), "the processor does not have it")
	undoAll := Limit(0)
	require.False(t, Has(AVX2))
	undoAll()
	require.Equal(t, AVX2|FMA, usable)
	undo()
	require.Equal(t, AVX2|FMA|PCLMULQDQ, usable)
}

// TestDetect holds what every processor obeys: wide registers come with what they extend.
func TestDetect(t *testing.T) {
	f := detect()
	require.Equal(t, f, usable, "no test limits them now")
	for wide, narrow := range map[Features]Features{
		AVX512DQ:         AVX512F,
		AVX512VL:         AVX512F,
		AVX512F:          AVX2 | FMA,
		AVX512VPCLMULQDQ: AVX512F | VPCLMULQDQ,
		VPCLMULQDQ:       AVX2 | PCLMULQDQ,
	} {
		if f&wide != 0 {
			require.Equal(t, narrow, f&narrow, "%b of %b", wide, f)
		}
	}
}
