//go:build linux && !purego

package shmstream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/internal/arena"
)

const granule = arena.Granule

// TestArenaOutlivesItsCloseForItsHolder: a slice still held does not crash its holder.
func TestArenaOutlivesItsCloseForItsHolder(t *testing.T) {
	a, err := NewArena(2 * granule)
	require.NoError(t, err)
	b := a.Alloc(100)
	b[0] = 7
	a.Close()
	require.EqualValues(t, 7, b[0])
	require.Nil(t, a.Alloc(1))
	require.False(t, a.Free(b))
}
