package alltoall_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// marked is float32 behind a byte that Decode checks, and what it does wrong.
type marked struct{ short, moves, marksWrong bool }

func (m marked) String() string  { return "marked" }
func (m marked) Bytes(n int) int { return 1 + 4*n }

func (m marked) Append(dst []byte, row []float32) []byte {
	if m.moves {
		dst = append([]byte(nil), dst...)
	}
	mark := byte(7)
	if m.marksWrong {
		mark++
	}
	dst = append(dst, mark)
	for _, v := range row {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	if m.short {
		return dst[:len(dst)-1]
	}
	return dst
}

func (m marked) Decode(row []float32, src []byte) error {
	if src[0] != 7 {
		return fmt.Errorf("mark %d", src[0])
	}
	for i := range row {
		row[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[1+4*i:]))
	}
	return nil
}

// thereAndBack takes a row for each expert of two ranks over all four legs by each algorithm.
func thereAndBack(ctx context.Context, tr transport.Transport, w alltoall.Wire, a alltoall.Algorithm) error {
	x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim, Wire: w, Algorithm: a})
	if err != nil {
		return err
	}
	m := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: []float32{1, 2, 3, 4, 5, 6}}
	h, in, err := whole(ctx, x, alltoall.Request{Counts: alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{1, 1}}, Rows: m})
	if err != nil {
		return err
	}
	defer h.Release()
	home, err := h.Combine(ctx, 0, in)
	if err != nil {
		return err
	}
	if in, err = h.DispatchBack(ctx, 0, home); err != nil {
		return err
	}
	if home, err = h.Combine(ctx, 0, in); err != nil {
		return err
	}
	return same("rows", m.Data, home.Data)
}

// legsOf is a wire with a codec on one leg, and the operation of that leg.
func legsOf(c alltoall.Codec) map[string]alltoall.Wire {
	return map[string]alltoall.Wire{
		"dispatch #2": {Dispatch: c}, "combine #3": {Combine: c}, "dispatch #4": {DispatchBack: c}, "combine #5": {CombineBack: c},
	}
}

func TestCodecOfAProgram(t *testing.T) {
	for _, c := range []alltoall.Codec{marked{}, marked{moves: true}, &marked{}} {
		for op, w := range legsOf(c) {
			for _, a := range alltoall.Algorithms() {
				for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error { return thereAndBack(t.Context(), tr, w, a) }) {
					require.NoError(t, err, "%s, %v", op, a)
				}
			}
		}
	}
}

// TestBrokenCodecIsNamed: with its rank and operation, whether it writes a wrong length, for which
// its own rank is to blame, or another rank cannot read what it wrote.
func TestBrokenCodecIsNamed(t *testing.T) {
	for says, broken := range map[string]marked{
		"codec failed: marked wrote 12 bytes for a row of 3 numbers, its Bytes says 13": {short: true},
		"protocol violation: codec failed: marked cannot read row 0 of 1: mark 8":       {marksWrong: true},
	} {
		for _, a := range alltoall.Algorithms() {
			good, bad := legsOf(marked{}), legsOf(broken)
			for op := range bad {
				errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
					w := good[op]
					if tr.Rank() == 1 {
						w = bad[op]
					}
					err := thereAndBack(t.Context(), tr, w, a)
					require.NoError(t, tr.Close(), "for which others wait")
					return err
				})
				for rank, err := range errs {
					require.Error(t, err, "%s, %v, rank %d", op, a, rank)
					require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "%s, %v: %v", op, a, err)
				}
				require.ErrorContains(t, errs[1], "rank 1: "+op+": ")
				require.ErrorContains(t, errs[1], says)
				require.ErrorIs(t, errs[1], alltoall.ErrCodec)
			}
		}
	}
}

func TestCodecIsValidated(t *testing.T) {
	for says, w := range map[string]alltoall.Wire{
		"alltoall: Wire.Combine is Format(99), want one of ":                                             {Combine: alltoall.Format(99)},
		"alltoall: Wire.Combine is fp8-stochastic(3), want a format of four bits":                        {Combine: alltoall.Stochastic{Format: alltoall.FP8, Seed: 3}},
		"alltoall: Wire.DispatchBack is a nil *alltoall_test.marked, want a codec, or no value":          {DispatchBack: (*marked)(nil)},
		"alltoall: Wire.CombineBack is sized: codec failed: 0 bytes for a row of 3 numbers, want 1 to ":  {CombineBack: sized{bytes: 0}},
		"alltoall: Wire.CombineBack is sized: codec failed: -1 bytes for a row of 3 numbers, want 1 to ": {CombineBack: sized{bytes: -1}},
		"1073741825 bytes for a row of 3 numbers, want 1 to 1073741824":                                  {Dispatch: sized{bytes: 1<<30 + 1}},
	} {
		require.ErrorContains(t, w.Validate(dim), says)
	}
	require.NoError(t, alltoall.Wire{}.Validate(dim))
	require.NoError(t, alltoall.Everywhere(sized{bytes: 1}).Validate(dim))
	require.NoError(t, alltoall.Everywhere(sized{}).Validate(0), "the size is an error of its own")
}

type sized struct {
	marked
	bytes int
}

func (s sized) String() string { return "sized" }
func (s sized) Bytes(int) int  { return s.bytes }

// TestWiresAreComparedByTheirText: nil is float32, and settings of a codec count.
func TestWiresAreComparedByTheirText(t *testing.T) {
	const plain = "{Dispatch:float32 Combine:float32 DispatchBack:float32 CombineBack:float32 Finite:false}"
	require.Equal(t, plain, alltoall.Wire{}.String())
	require.Equal(t, plain, fmt.Sprintf("%+v", alltoall.Everywhere(alltoall.Float32)))
	require.Equal(t, "{Dispatch:marked Combine:bf16 DispatchBack:float32 CombineBack:float32 Finite:true}",
		alltoall.Wire{Dispatch: marked{}, Combine: alltoall.BF16, Finite: true}.String())
	require.Equal(t, [4]alltoall.Codec{alltoall.FP8, alltoall.Float32, marked{}, alltoall.Float32},
		alltoall.Wire{Dispatch: alltoall.FP8, DispatchBack: marked{}}.Legs())
}

// TestBytesOfARow are those of its four exchanges, each in its format.
func TestBytesOfARow(t *testing.T) {
	for _, w := range []alltoall.Wire{
		{}, {Dispatch: alltoall.BF16}, {Combine: alltoall.BF16}, {DispatchBack: alltoall.BF16}, {CombineBack: alltoall.BF16},
		alltoall.Everywhere(alltoall.BF16),
	} {
		sixteenBits := 0
		for _, c := range w.Legs() {
			if c == alltoall.BF16 {
				sixteenBits++
			}
		}
		require.Equal(t, 6*(4*4-2*sixteenBits), w.RowBytes(6), "%+v", w)
	}
}
