package alltoall

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Wire is the codec of rows on each of the four legs of a step. A leg without one (nil) has
// [Float32]. Rows are rounded whether they leave the rank or not, so that results do not depend on
// where experts are, unless Within is set; what is computed and summed stays float32.
type Wire struct {
	// Dispatch is the codec of rows on their way to experts, and Combine of their answers.
	Dispatch, Combine Codec
	// DispatchBack is the codec of the gradients of answers, and CombineBack of those of rows.
	DispatchBack, CombineBack Codec
	// Within, if it is not nil, has the codecs of rows between ranks of one node, as the topology
	// says, and the four above are those of rows between nodes. Rows that stay on their rank are
	// then not rounded. So results depend on where experts are. The codec of a row is that of the
	// way from its rank to the expert's and back, whichever ranks an algorithm relays it through.
	// Within's own Within and Finite are not set.
	Within *Wire
	// Finite makes a NaN or an infinity that is about to leave a rank an error there, [ErrNotFinite],
	// with its row and column. In the rows of a Begin, the Begin of the other ranks returns
	// [ErrRefused] at once; elsewhere they wait until that rank closes its transport. A layer does
	// better: it fails the pass on every rank. Without Finite such numbers travel, as far as the
	// codecs have them.
	Finite bool
}

// Everywhere is one codec on all legs.
func Everywhere(c Codec) Wire {
	return Wire{Dispatch: c, Combine: c, DispatchBack: c, CombineBack: c}
}

// Legs returns the codecs of Dispatch, Combine, DispatchBack and CombineBack, Float32 where there
// is none.
func (w Wire) Legs() [4]Codec {
	legs := [4]Codec{w.Dispatch, w.Combine, w.DispatchBack, w.CombineBack}
	for i, c := range legs {
		if c == nil {
			legs[i] = Float32
		}
	}
	return legs
}

// RowBytes is the length of a row of dim numbers on all legs together, between nodes if Within is
// set.
func (w Wire) RowBytes(dim int) (n int) {
	for _, c := range w.Legs() {
		n += c.Bytes(dim)
	}
	return n
}

// String names all codecs. Ranks compare it.
func (w Wire) String() string {
	c, within := w.Legs(), ""
	if w.Within != nil {
		within = fmt.Sprintf(" Within:%v", *w.Within)
	}
	return fmt.Sprintf("{Dispatch:%v Combine:%v DispatchBack:%v CombineBack:%v%s Finite:%t}",
		c[0], c[1], c[2], c[3], within, w.Finite)
}

// mostWidth bounds the bytes of a row, so that sums of them do not overflow.
const mostWidth = 1 << 30

// Validate returns an error if a codec is a nil pointer, a format that is not one of those here, or
// one that has no length for rows of dim numbers.
func (w Wire) Validate(dim int) error {
	faults := w.faults("Wire", dim)
	if near := w.Within; near != nil {
		faults = append(faults, near.faults("Wire.Within", dim)...)
		if near.Within != nil || near.Finite {
			faults = append(faults, errors.New("alltoall: Wire.Within has Within or Finite, want codecs alone"))
		}
	}
	return errors.Join(faults...)
}

// faults lists what is wrong with the codecs of the four legs.
func (w Wire) faults(name string, dim int) (faults []error) {
	for i, c := range w.Legs() {
		if err := validateCodec(c, dim); err != nil {
			leg := [...]string{"Dispatch", "Combine", "DispatchBack", "CombineBack"}[i]
			faults = append(faults, errtext.Errorf("alltoall: %s.%s %w", name, leg, err))
		}
	}
	return faults
}

func validateCodec(c Codec, dim int) error {
	if check.Nil(c) {
		return fmt.Errorf("is a nil %T, want a codec, or no value for float32", c)
	}
	if f, ok := c.(Format); ok && !quant.Format(f).Known() {
		return fmt.Errorf("is %v, want one of %v", f, FormatNames())
	}
	if s, ok := c.(Stochastic); ok && !quant.Format(s.Format).FourBits() {
		return fmt.Errorf("is %v, want a format of four bits", s)
	}
	if check.Size(dim, 1) != nil { // an error of its own
		return nil
	}
	if n := c.Bytes(dim); n < 1 || n > mostWidth {
		return fmt.Errorf("is %v: %w: %d bytes for a row of %d numbers, want 1 to %d", c, ErrCodec, n, dim, mostWidth)
	}
	return nil
}
