package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzTokens: whatever a client sends is an error or whole rows of finite numbers, which travel
// back with the same bits.
func FuzzTokens(f *testing.F) {
	for _, text := range []string{
		`{"tokens":[[1,2],[-0,1e-45]]}`, `{"tokens":[[1,null]]}`, `{"tokens":[[1,2e39]]}`, `{"Tokens":[[1,2]],"tokens":[[3,4]]}`,
		`{}`, `[]`, `null`, `{"tokens":{}}`, `{"tokens":[[1,2]]} x`, `{"tokens":[["1",2]]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const dim = 2
		values, err := decodeTokens(body, dim)
		if err != nil {
			return
		}
		require.Zero(t, len(values)%dim)
		text, err := encodeTokens(values, dim)
		require.NoError(t, err)
		again, err := decodeTokens(text, dim)
		require.NoError(t, err)
		require.Len(t, again, len(values))
		for i := range values {
			require.Equal(t, math.Float32bits(values[i]), math.Float32bits(again[i]))
		}
	})
}
