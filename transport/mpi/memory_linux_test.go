package mpi

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestMemoryIsOfLargePages: an arena is aligned to large pages, and stays mapped after its end
// while a piece is in use.
func TestMemoryIsOfLargePages(t *testing.T) {
	ends := openFake(t, 1, func(_ int, c *Config) { c.ArenaBytes = 3 << 20 })
	b := ends[0].Alloc(3 << 20)
	require.Len(t, b, 3<<20)
	require.Zero(t, uintptr(unsafe.Pointer(&b[0]))%largePage)
	require.NotNil(t, ends[0].Alloc(1<<20), "it is rounded up to whole pages")
	require.Nil(t, ends[0].Alloc(1), "and has no more than those")
	b[len(b)-1] = 7
	require.NoError(t, ends[0].Close())
	require.EqualValues(t, 7, b[len(b)-1])
	require.False(t, ends[0].Free(b))
}

func TestConfigBoundsTheArena(t *testing.T) {
	require.ErrorContains(t, Config{ArenaBytes: -1}.Validate(), "ArenaBytes -1 is outside")
}
