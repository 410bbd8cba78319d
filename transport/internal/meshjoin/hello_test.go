package meshjoin

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/internal/identity"
)

func FuzzDecodeHello(f *testing.F) {
	var b [helloBytes]byte
	(&hello{Block: identity.Block{Size: 4, From: 3, To: 1, Epoch: 2}, kind: dataStream}).put(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < helloBytes {
			return
		}
		h, err := decodeHello(raw[:helloBytes])
		if err != nil {
			return
		}
		var b [helloBytes]byte
		h.put(b[:])
		require.Equal(t, raw[:helloBytes], b[:])
	})
}

// TestHelloOnTheWire: ranks of other builds must be able to read it.
func TestHelloOnTheWire(t *testing.T) {
	var b [helloBytes]byte
	(&hello{Block: identity.Block{Size: 4, From: 3, To: 1, Epoch: 2, Terms: [32]byte{31: 9}}, kind: controlStream}).put(b[:])
	require.Equal(t, "535759480001000200000004000000030000000100000002", hex.EncodeToString(b[:24]))
	require.Equal(t, "0966d27c86", hex.EncodeToString(b[71:]))
}
