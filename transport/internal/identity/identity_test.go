package identity

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

func TestBlockNamesWhatDiffers(t *testing.T) {
	mine := Block{Size: 4, From: 1, Epoch: 2}
	good := Block{Size: 4, From: 3, To: 1, Epoch: 2}
	require.NoError(t, mine.Check(&good))
	for want, change := range map[string]func(m *Block){
		"world size 5, here 4": func(m *Block) { m.Size = 5 },
		"epoch 3, here 2":      func(m *Block) { m.Epoch = 3 },
		"session 01":           func(m *Block) { m.Session[0] = 1 },
		"configuration digest": func(m *Block) { m.Terms[0] = 1 },
		"receiver 2, here 1":   func(m *Block) { m.To = 2 },
		"rank 4, here 1":       func(m *Block) { m.From = 4 },
		"rank -1, here 1":      func(m *Block) { m.From = -1 },
		"rank 1, here 1":       func(m *Block) { m.From = 1 },
	} {
		bad := good
		change(&bad)
		err := mine.Check(&bad)
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "hello with "+want)
	}
}

func TestBlockOnTheWire(t *testing.T) {
	want := Block{Size: 1, From: 2, To: 3, Epoch: 4, Session: [16]byte{5, 15: 6}, Terms: [32]byte{7, 31: 8}}
	var b [Bytes]byte
	want.Put(b[:])
	require.Equal(t, want, Decode(b[:]))
	require.Equal(t, []byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 5}, b[:17])
	require.Equal(t, []byte{6, 7}, b[31:33])
	require.Equal(t, byte(8), b[63])
}

func TestSealFindsEveryBit(t *testing.T) {
	b := []byte{1, 2, 3, 0, 0, 0, 0}
	Seal(b)
	require.NoError(t, CheckSeal(b))
	for i := range b {
		b[i] ^= 4
		require.ErrorIs(t, CheckSeal(b), transport.ErrCorrupt)
		b[i] ^= 4
	}
}
