package switchyard

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
// batch, so the later pass may take the place of the earlier. Another batch may not: which of the
// two a Backward belonged to would be a guess.

// repeats tells whether p is the batch of an earlier pass again, whose x is still as it was.
func (p *pass) repeats(before *pass) bool {
	a, b := &p.side, &before.side
	return a.Micro == b.Micro && a.StepTokens == b.StepTokens && a.Gate == b.Gate && slices.Equal(a.Sequences, b.Sequences) &&
		slices.Equal(a.Padding, b.Padding) && slices.Equal(a.Modality, b.Modality) &&
		slices.Equal(a.IDs, b.IDs) && sameRows(a.Features, b.Features) && sameRows(p.x, before.x) && before.unchanged()
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

// unchanged tells whether the rows of x that were looked at when the pass began are as they were.
func (p *pass) unchanged() bool { return p.sample == sampleOf(p.x) }

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

// checkGradient returns why dy cannot be the gradient of the answers of p, the pass that waits for
// its backward pass; nil means that none waits.
func (p *pass) checkGradient(dy blas32.General, dim int) error {
	if p == nil {
		return errors.New("no Forward waits for it")
	}
	if err := check.Matrix(dy, dim); err != nil {
		return fmt.Errorf("dy has %w", err)
	}
	if dy.Rows != p.x.Rows {
		return fmt.Errorf("dy has %d rows, want %d as the last Forward's x", dy.Rows, p.x.Rows)
	}
	if !p.unchanged() {
		return errors.New("x has been changed since Forward; it must stay as it is until Backward returns")
	}
	return nil
}
