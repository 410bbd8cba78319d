package param

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCloneAndCopyFrom of each type of data: the copy has memory of its own, and comes back.
func TestCloneAndCopyFrom(t *testing.T) {
	for _, data := range []any{[]float32{1, 2}, []float64{3}, []int64{4, 5, 6}, []byte{7}} {
		e := Entry{Name: "e", Kind: Expert, Role: Training, Shape: []int{2}, Data: data, Writer: true}
		kept := e.Clone()
		require.Equal(t, e, kept)
		clear := e.Clone()
		switch d := e.Data.(type) {
		case []float32:
			d[0] = 9
		case []float64:
			d[0] = 9
		case []int64:
			d[0] = 9
		case []byte:
			d[0] = 9
		}
		require.NotEqual(t, e, kept)
		require.Equal(t, clear, kept)
		require.NoError(t, e.CopyFrom(kept))
		require.Equal(t, kept, e)
		require.Equal(t, data, e.Data, "in the memory of the owner")
	}
}

func TestCopyFromOfOtherData(t *testing.T) {
	e := Entry{Name: "e", Data: []float32{1, 2}}
	for want, data := range map[string]any{
		`param: entry "e" has 2 elements of a []float32, and what is copied 1 elements of a []float32`: []float32{3},
		"what is copied 2 elements of a []float64":                                                     []float64{3, 4},
		"what is copied data of type <nil>":                                                            nil,
		"what is copied data of type string":                                                           "x",
	} {
		require.ErrorContains(t, e.CopyFrom(Entry{Data: data}), want)
	}
	require.Equal(t, []float32{1, 2}, e.Data)
	require.ErrorContains(t, Entry{Name: "s", Data: "x"}.CopyFrom(Entry{Data: "x"}), `entry "s" has data of type string`)
}
