package gpt

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Generation keeps earlier tokens' keys and values; the text must be what a pass over the whole
// window gives.
func TestSampleMatchesWholePasses(t *testing.T) {
	r := seeded(t)
	m := tinyModel(t, r)
	likeliest := Sampling{TopP: 1}
	got, err := m.Sample(context.Background(), []byte("ab"), 9, likeliest, true)
	require.NoError(t, err)

	window := []byte("ab")
	for i, b := range got {
		scores, err := m.next(context.Background(), window, 0, true)
		require.NoError(t, err)
		require.Equal(t, likeliest.pick(scores, nil), b, "byte %d", i)
		if window = append(window, b); len(window) > tiny.Seq {
			window = window[len(window)-tiny.Seq/2:]
		}
	}
}

func TestListenersTakePartInEveryPass(t *testing.T) {
	calls := func(speaker bool) int {
		layer := &squareLayer{}
		m, err := New(tiny, []Layer{nil, layer, nil})
		require.NoError(t, err)
		text, err := m.Sample(context.Background(), []byte("abcdefgh"), 12, Sampling{Temperature: 1, TopP: 0.9}, speaker)
		require.NoError(t, err)
		require.Equal(t, speaker, len(text) == 12)
		return layer.calls
	}
	require.Equal(t, calls(true), calls(false))
}

func TestPickFollowsProbabilities(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	count := func(s Sampling) (n [3]int) {
		for range 3000 {
			n[s.pick([]float32{2, 0, 1.9}, draw)]++
		}
		return n
	}
	all := count(Sampling{Temperature: 1, TopP: 1})
	require.Greater(t, all[0], all[2])
	require.Greater(t, all[1], 100)
	two := count(Sampling{Temperature: 1, TopP: 0.8})
	require.Zero(t, two[1])
	require.Greater(t, two[2], 1000)
	require.Equal(t, [3]int{3000, 0, 0}, count(Sampling{TopP: 1}))
	hot := count(Sampling{Temperature: 100, TopP: 1})
	require.Greater(t, hot[1], 800)
}

func TestSampleRefuses(t *testing.T) {
	m := tinyModel(t, seeded(t))
	_, err := m.Sample(context.Background(), []byte("a"), 1, Sampling{Temperature: -1, TopP: 2}, true)
	require.ErrorContains(t, err, "Temperature is -1")
	require.ErrorContains(t, err, "TopP is 2")
	_, err = m.Sample(context.Background(), nil, 1, Sampling{TopP: 1}, true)
	require.ErrorContains(t, err, "prompt is empty")
}
