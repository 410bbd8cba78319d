package harness

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSizes(t *testing.T) {
	sizes, err := ParseSizes("1,64,4k,4Ki,2M,2Mi,1G,1Gi")
	require.NoError(t, err)
	require.Equal(t, []int{1, 64, 4000, 4096, 2e6, 2 << 20, 1e9, 1 << 30}, sizes)
}

func TestParseSizesRefuses(t *testing.T) {
	for _, text := range []string{"", "0", "-1", "4K", "4KiB", "1.5k", "64,,4Ki", "Ki", "1025Mi", "2G", "3000000000", "0x10", " 1"} {
		_, err := ParseSizes(text)
		require.ErrorContains(t, err, "size", "%q", text)
	}
	_, err := ParseSize("2Gi")
	require.EqualError(t, err, `size "2Gi": want 1 to 1Gi bytes`)
}

func TestSizeNameIsReadBack(t *testing.T) {
	for size, name := range map[int]string{1: "1", 65: "65", 1024: "1Ki", 1536: "1536", 3 << 20: "3Mi", 1 << 30: "1Gi"} {
		require.Equal(t, name, SizeName(size))
		back, err := ParseSize(name)
		require.NoError(t, err)
		require.Equal(t, size, back)
	}
}

// TestRates are numbers with commas between them; each that is none is a fault.
func TestRates(t *testing.T) {
	var l Limits
	require.Equal(t, []int{250, 1000}, l.Rates("250,1000", 1000))
	require.Empty(t, l.Faults)
	l.Rates("0,x,1001,7", 1000)
	require.Len(t, l.Faults, 3)
	require.EqualError(t, l.Faults[2], `-rates "1001": want 1 to 1000`)
}
