//go:build linux && !purego

package shmlane

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArenaNeverGivesTwice fills what it gets and looks later whether somebody else did.
func TestArenaNeverGivesTwice(t *testing.T) {
	const size = 64 * granule
	a, err := NewArena(size)
	require.NoError(t, err)
	defer a.Close()
	random := rand.New(rand.NewPCG(1, 2))
	var held [][]byte
	refused := 0
	for round := range 3000 {
		if random.IntN(2) == 0 && len(held) > 0 {
			i := random.IntN(len(held))
			b := held[i]
			require.Equal(t, len(b), bytes.Count(b, b[:1]), "somebody else wrote here")
			require.True(t, a.Free(b))
			require.False(t, a.Free(b), "freed twice")
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
			continue
		}
		b := a.Alloc(1 + random.IntN(10*granule))
		if b == nil {
			refused++
			continue
		}
		for i := range b {
			b[i] = byte(round)
		}
		held = append(held, b)
	}
	require.Positive(t, refused)
	for _, b := range held {
		require.True(t, a.Free(b))
	}
	require.Equal(t, []span{{0, size}}, a.free, "what is free has grown together again")
}

func TestArenaKnowsItsOwn(t *testing.T) {
	a, err := NewArena(10 * granule)
	require.NoError(t, err)
	defer a.Close()
	require.Nil(t, a.Alloc(0))
	require.Nil(t, a.Alloc(10*granule+1))
	require.False(t, a.Free(make([]byte, 10)))
	b := a.Alloc(3 * granule)
	at, ok := a.offset(b[granule:])
	require.True(t, ok)
	require.EqualValues(t, granule, at)
	require.False(t, a.Free(b[granule:]), "a part is no allocation")
	_, ok = a.offset(make([]byte, 100))
	require.False(t, ok)
	require.True(t, a.Free(b))
}

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
