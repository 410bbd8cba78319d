// Package neartest compares numbers that need not have the same bits. It is for tests alone.
//
// It is used in place of testify's InDeltaSlice, which compares as many elements as the second
// slice has and so passes where that one is too short.
package neartest

import (
	"fmt"
	"math"

	"github.com/stretchr/testify/require"
)

type float interface{ ~float32 | ~float64 }

// Equal requires two slices to be equally long and each element of got to be within delta of that
// of want. A NaN is near a NaN only, and an infinity near itself only.
func Equal[A, B float](t require.TestingT, want []A, got []B, delta float64, message ...any) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	if fault := Compare(want, got, delta); fault != "" {
		require.Fail(t, fault, message...)
	}
}

// Number requires got to be within delta of want. Unlike testify's InDelta it never passes with a
// NaN among the three, which one that a delta is computed from would make of it.
func Number(t require.TestingT, want, got, delta float64, message ...any) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	if !(math.Abs(want-got) <= delta) || math.IsInf(delta, 0) {
		require.Fail(t, fmt.Sprintf("%v, want %v, at most %v away", got, want, delta), message...)
	}
}

// Compare returns what Equal would complain of, and nothing where all is well.
func Compare[A, B float](want []A, got []B, delta float64) string {
	if !(delta >= 0) || math.IsInf(delta, 0) {
		return fmt.Sprintf("delta is %v, want a finite number of 0 or more", delta)
	}
	if len(want) != len(got) {
		return fmt.Sprintf("%d elements, want %d", len(got), len(want))
	}
	wrong, first := 0, ""
	for i := range want {
		if near(float64(want[i]), float64(got[i]), delta) {
			continue
		}
		if wrong++; wrong == 1 {
			first = fmt.Sprintf("element %d is %v, want %v, at most %v away", i, got[i], want[i], delta)
		}
	}
	if wrong > 1 {
		return fmt.Sprintf("%s (and %d more of %d)", first, wrong-1, len(want))
	}
	return first
}

func near(want, got, delta float64) bool {
	return want == got || math.IsNaN(want) && math.IsNaN(got) || math.Abs(want-got) <= delta
}
