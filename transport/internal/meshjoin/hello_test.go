package meshjoin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzDecodeHello(f *testing.F) {
	var b [helloBytes]byte
	(&hello{kind: dataStream, size: 4, from: 3, to: 1, epoch: 2}).put(b[:])
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
