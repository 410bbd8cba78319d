package dispatch

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRoutes: any lists are an error, or become entries that name each choice once, sorted by
// expert and then by token.
func FuzzRoutes(f *testing.F) {
	f.Add(3, 2, []byte{0, 1, 2, 3})
	f.Add(1, 4, []byte{255, 0, 255, 0})
	f.Add(2, 2, []byte{1, 1, 0, 0})
	f.Add(5, 0, []byte{})
	f.Fuzz(func(t *testing.T, experts, tokens int, choices []byte) {
		if experts < 1 || experts > 300 || tokens < 0 {
			return
		}
		indices, weights := make([]int32, len(choices)), make([]float32, len(choices))
		for i, c := range choices {
			indices[i], weights[i] = int32(int8(c)), float32(i)
		}
		var r routes
		if r.set(experts, tokens, indices, weights) != nil {
			require.False(t, valid(experts, tokens, indices))
			return
		}
		require.True(t, valid(experts, tokens, indices))
		begin, seen := 0, 0
		for e, n := range r.counts {
			for i := begin; i < begin+n; i++ {
				slot := int(r.slot[i])
				require.Equal(t, int32(e), indices[slot])
				require.Equal(t, weights[slot], r.weight[i])
				require.Equal(t, int32(slot/(len(choices)/tokens)), r.token[i])
				require.True(t, i == begin || r.token[i-1] < r.token[i])
				seen++
			}
			begin += n
		}
		require.Equal(t, len(choices)-count(indices, none), seen)
		require.Len(t, r.token, seen)
	})
}

// valid says it in another way.
func valid(experts, tokens int, indices []int32) bool {
	if len(indices) == 0 {
		return true
	}
	if tokens == 0 || len(indices)%tokens != 0 {
		return false
	}
	for token := range slices.Chunk(indices, len(indices)/tokens) {
		for _, e := range token {
			if e < none || e >= int32(experts) || e != none && count(token, e) > 1 {
				return false
			}
		}
	}
	return true
}

func count(list []int32, v int32) (n int) {
	for _, of := range list {
		if of == v {
			n++
		}
	}
	return n
}
