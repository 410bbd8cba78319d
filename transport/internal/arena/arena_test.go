package arena

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArenaNeverGivesTwice fills what it gets and looks later whether somebody else did.
func TestArenaNeverGivesTwice(t *testing.T) {
	const size = 64 * Granule
	a := Over(make([]byte, size))
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
		b := a.Alloc(1 + random.IntN(10*Granule))
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
	a := Over(make([]byte, 10*Granule))
	require.Nil(t, a.Alloc(0))
	require.Nil(t, a.Alloc(10*Granule+1))
	require.False(t, a.Free(make([]byte, 10)))
	b := a.Alloc(3 * Granule)
	at, ok := a.Offset(b[Granule:])
	require.True(t, ok)
	require.EqualValues(t, Granule, at)
	require.False(t, a.Free(b[Granule:]), "a part is no allocation")
	_, ok = a.Offset(make([]byte, 100))
	require.False(t, ok)
	require.True(t, a.Free(b))
}

// TestArenaKeepsItsMemoryForItsHolder: memory of which a piece is still held is not given back.
func TestArenaKeepsItsMemoryForItsHolder(t *testing.T) {
	a := Over(make([]byte, 2*Granule))
	b := a.Alloc(100)
	memory, unused := a.Close()
	require.False(t, unused)
	require.Nil(t, memory)
	require.Nil(t, a.Alloc(1))
	require.False(t, a.Free(b))

	a = Over(make([]byte, 2*Granule))
	require.True(t, a.Free(a.Alloc(100)))
	memory, unused = a.Close()
	require.True(t, unused)
	require.Len(t, memory, 2*Granule)
}
