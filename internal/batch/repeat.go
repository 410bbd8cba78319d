package batch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/view"
)

// A trainer that recomputes activations runs a Forward again before its Backward. That is the same
// batch, so the later pass may take the place of the earlier. Another batch may not: nobody could
// tell which of the two a Backward belongs to.

// Repeats reports whether t is an earlier batch again, whose X is still as it was.
func (t *Tokens) Repeats(earlier *Tokens) bool {
	a, b := &t.Info, &earlier.Info
	return a.Micro == b.Micro && a.StepTokens == b.StepTokens && a.Gate == b.Gate &&
		slices.Equal(a.Sequences, b.Sequences) && slices.Equal(a.Padding, b.Padding) &&
		slices.Equal(a.Modality, b.Modality) && slices.Equal(a.IDs, b.IDs) &&
		sameRows(a.Features, b.Features) && sameRows(t.X, earlier.X) && earlier.unchanged()
}

// Identity tells batches apart that may be run again in other memory: by their sizes, and by a
// sample of the tokens.
type Identity struct {
	Tokens, Padding, Micro, StepTokens, Gate int

	sample uint32
}

// Identity is that of t.
func (t *Tokens) Identity() Identity {
	return Identity{
		Tokens: t.X.Rows, Padding: t.X.Rows - t.Real, Micro: t.Info.Micro,
		StepTokens: t.Info.StepTokens, Gate: t.Info.Gate, sample: t.sample,
	}
}

// String is the identity in errors.
func (i Identity) String() string {
	return fmt.Sprintf("%d tokens of checksum %08x, Micro %d, StepTokens %d",
		i.Tokens, i.sample, i.Micro, i.StepTokens)
}

// sameRows compares all bits.
func sameRows(a, b blas32.General) bool {
	if a.Rows != b.Rows || a.Rows > 0 && a.Cols != b.Cols {
		return false
	}
	for i := range a.Rows {
		if !bytes.Equal(view.Bytes(mat.Row(a, i)), view.Bytes(mat.Row(b, i))) {
			return false
		}
	}
	return true
}

// unchanged reports whether the rows of X that were looked at when the pass began are as they were.
func (t *Tokens) unchanged() bool { return t.sample == sampleOf(t.given) }

// sampleOf is a checksum of a few rows of m, spread over all of it: memory that has been used for
// another batch shows in any of them.
func sampleOf(m blas32.General) uint32 {
	const most = 16
	sum := uint32(0)
	for i := range min(m.Rows, most) {
		sum = crc32c.Update(sum, view.Bytes(mat.Row(m, i*m.Rows/min(m.Rows, most))))
	}
	return sum
}

// CheckGradient returns why dy cannot be the gradient of the answers to t.
func (t *Tokens) CheckGradient(dy blas32.General) error {
	if err := check.Matrix(dy, t.X.Cols); err != nil {
		return fmt.Errorf("dy has %w", err)
	}
	if dy.Rows != t.X.Rows {
		return fmt.Errorf("dy has %d rows, want %d as the last Forward's x", dy.Rows, t.X.Rows)
	}
	if !t.unchanged() {
		return errors.New("x has been changed since Forward; it must stay as it is until Backward returns")
	}
	return nil
}
