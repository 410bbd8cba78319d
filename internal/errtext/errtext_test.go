package errtext

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnce(t *testing.T) {
	for text, want := range map[string]string{
		"":       "",
		"router": "router",
		"switchyard: NewLayer: switchyard: rank 1: recv: gone":                 "switchyard: NewLayer: rank 1: recv: gone",
		"switchyard: a: alltoall: b: switchyard: c: alltoall: d":               "switchyard: a: alltoall: b: c: d",
		"rendezvous: rendezvous: rendezvous: x":                                "rendezvous: x",
		"switchyard: Config.Dim is 0\nswitchyard: switchyard: Experts is 0":    "switchyard: Config.Dim is 0\nswitchyard: Experts is 0",
		"switchyard: rank 0: rendezvous: no answer; last: rendezvous: refused": "switchyard: rank 0: rendezvous: no answer; last: refused",
		"gate: x: gate: y":                   "gate: x: gate: y",
		"switchyard: it said switchyard":     "switchyard: it said switchyard",
		"switchyard: it said: switchyard":    "switchyard: it said: switchyard",
		"switchyard: a: switchyard: b: gate": "switchyard: a: b: gate",
	} {
		require.Equal(t, want, Once(text))
		require.Equal(t, want, Once(Once(text)))
	}
}

func TestErrorf(t *testing.T) {
	err := Errorf("router: file %d: %w", 3, Errorf("router: header: %w", io.EOF))
	require.EqualError(t, err, "router: file 3: header: EOF")
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "router: file 3: router: header: EOF", errors.Unwrap(err).Error(), "the text is changed where it is asked for, not in what is wrapped")
}
