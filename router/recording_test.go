package router

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadingChecks spoils a file in every way that a check is for.
func TestReadingChecks(t *testing.T) {
	_, _, _, file := recordSome(t, TopK{K: 2})
	for says, spoil := range map[string]func(b []byte) []byte{
		"header":                               func(b []byte) []byte { return b[:11] },
		"not a file of routes":                 func(b []byte) []byte { b[3] ^= 1; return b },
		"of version 258, want 2":               func(b []byte) []byte { b[9] = 1; return b },
		"of version 1, want 2: record it anew": func(b []byte) []byte { b[8] = 1; return b },
		"route 0 of a file: checksum is": func(b []byte) []byte {
			b[12+recordHead+8+20+20+1] ^= 4 // a token
			return b
		},
		"unexpected EOF":   func(b []byte) []byte { return b[:len(b)-1] },
		"train is 2":       func(b []byte) []byte { b[12+20] = 2; return b },
		"are too many":     func(b []byte) []byte { b[12+35] = 0x7f; return b },
		"route 6 of":       func(b []byte) []byte { return append(b, 0) },
		"25165829 experts": func(b []byte) []byte { b[12+7], b[12+6] = 1, 0x80; return b },
	} {
		_, err := ReadRecording(bytes.NewReader(spoil(bytes.Clone(file))))
		require.ErrorContains(t, err, says)
	}
}

// TestLengthsAreNotBelieved expects memory for what is there, not for what is promised.
func TestLengthsAreNotBelieved(t *testing.T) {
	r := RecordedRoute{Groups: []int{1 << 29}, Assignment: Assignment{Tokens: 1 << 29, Experts: 4, Ends: make([]int, 4)}, Counts: make([]int, 4)}
	b := r.append(append([]byte(recordingMagic), recordingVersion, 0, 0, 0))
	b[12+32+3] = 0x40 // 2³⁰ entries
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadRecording(bytes.NewReader(b))
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// FuzzReadRecording expects an error, or a file that says the same when it is written again, and of
// which each route is found under its key.
func FuzzReadRecording(f *testing.F) {
	_, _, _, file := recordSome(f, TopK{K: 2, CapacityFactor: 0.5})
	f.Add(file)
	f.Add(file[:12])
	f.Add([]byte(recordingMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := NewRouteReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		rec, fault := OpenRecording(bytes.NewReader(data))
		again := append([]byte(recordingMagic), recordingVersion, 0, 0, 0)
		for {
			route, err := in.Next()
			if err != nil {
				require.True(t, err != io.EOF || bytes.Equal(data, again))
				require.True(t, err == io.EOF || fault != nil)
				return
			}
			again = route.append(again)
			if fault != nil {
				continue
			}
			found, err := rec.Route(route.RouteKey)
			require.NoError(t, err)
			require.Equal(t, route, found)
		}
	})
}
