package harness

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "a few seconds", 9 * time.Second: "a few seconds", 10 * time.Second: "about 10 seconds", 96 * time.Second: "about 100 seconds",
		100 * time.Second: "about 2 minutes", 29*time.Minute + 40*time.Second: "about 30 minutes", 150 * time.Minute: "about 2.5 hours",
	} {
		require.Equal(t, want, roughly(d))
	}
}

// TestPace: what is left goes by the turns that are done.
func TestPace(t *testing.T) {
	var out bytes.Buffer
	p := NewPace(&out, "x", 4, time.Hour)
	p.Next("one")
	p.Start = p.Start.Add(-10 * time.Minute)
	p.Next("two")
	require.Equal(t, "bench: x takes about 60 minutes; if stopped, it prints what it has measured\n"+
		"bench: one; about 60 minutes left\nbench: two; about 30 minutes left\n", out.String())
	out.Reset()
	NewPace(&out, "x", 1, time.Millisecond)
	require.Empty(t, out.String())
}
