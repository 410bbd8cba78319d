// Package passcheck finds numbers that are not finite in a pass of a layer, and shares what each
// rank has found, so that the pass fails on every rank with the name of the first rank that found
// something.
//
// A rank that finds something late in a pass sends its rows all the same, since other ranks wait
// for them, and says what it found beside them.
package passcheck

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config describes the checks of one rank.
type Config struct {
	// Comm connects all ranks.
	Comm *collective.Comm
	// Rank is this rank's number, and Joined the number by which errors name a rank.
	Rank   transport.Rank
	Joined func(transport.Rank) transport.Rank
	// All checks what experts make too, and not only what the caller gives
	// ([alltoall.Wire.Finite]).
	All bool
}

// Stage checks the passes of a rank. Its methods may be called for several passes at a time, and
// Share in the same order on every rank.
type Stage struct{ Config }

// New makes a stage.
func New(cfg Config) *Stage { return &Stage{cfg} }

// Fault is the first thing that a rank has found wrong in a pass.
type Fault struct {
	err  error
	word uint64 // what the other ranks are told: 1 and the row of dy, or one of the values below
}

// Found reports whether anything was found.
func (f *Fault) Found() bool { return f.err != nil }

// These stand in place of the row of dy if what a rank has made is not finite, or the clusters that
// its Compression.Assign made are wrong.
const (
	made       = 1 << 62
	unassigned = 1<<62 + 1
)

// Infinite returns the first row of m that holds a NaN or an infinity, and where in it, or −1.
func Infinite(m blas32.General) (row, column int) {
	if m.Rows > 0 && m.Stride == m.Cols && f32.Finite(m.Data[:m.Rows*m.Cols]) {
		return -1, 0
	}
	for t := range m.Rows {
		line := mat.Row(m, t)
		if f32.Finite(line) {
			continue
		}
		for j, v := range line {
			if v-v != 0 {
				return t, j
			}
		}
	}
	return -1, 0
}

// Gradient notes the first row of dy that is not finite.
func (s *Stage) Gradient(f *Fault, dy blas32.General) {
	if t, j := Infinite(dy); t >= 0 {
		what := fmt.Sprintf("row %d, column %d of dy is %v", t, j, mat.Row(dy, t)[j])
		f.err, f.word = s.blamed(s.Rank, "backward", what), uint64(t)+1
	}
}

// Made notes the first number that is not finite in what this rank has made in a pass, if All.
func (s *Stage) Made(f *Fault, op, what string, list ...blas32.General) {
	if !s.All || f.Found() {
		return
	}
	for _, m := range list {
		if r, j := Infinite(m); r >= 0 {
			text := fmt.Sprintf("row %d, column %d of %s is %v", r, j, what, mat.Row(m, r)[j])
			f.err, f.word = s.blamed(s.Rank, op, text), made
			return
		}
	}
}

// Unassigned notes why Compression.Assign has made no clusters.
func (s *Stage) Unassigned(f *Fault, err error) {
	f.err = &transport.Error{Rank: s.Joined(s.Rank), Op: "forward",
		Err: fmt.Errorf("%w: Config.Compression.Assign: %w", alltoall.ErrRefused, err)}
	f.word = unassigned
}

func (s *Stage) blamed(r transport.Rank, op, what string) error {
	return &transport.Error{Rank: s.Joined(r), Op: op,
		Err: fmt.Errorf("%w: %w: %s", alltoall.ErrRefused, alltoall.ErrNotFinite, what)}
}

// Share sends what this rank has found to all ranks, while rows travel, and returns what waits for
// the others: the error of the pass on every rank if one of them has found anything. It names the
// first rank that has; on those that have, it is their own.
//
// Direct: 8 bytes to each other rank.
func (s *Stage) Share(ctx context.Context, op string, f *Fault) (wait func() error) {
	size, own := s.Comm.Size(), f.err
	mine := binary.LittleEndian.AppendUint64(nil, f.word)
	if size == 1 {
		return func() error { return own }
	}
	all, done := make([]byte, size*len(mine)), make(chan error, 1)
	go func() { done <- s.Comm.AllGather(ctx, all, mine) }()
	return func() error {
		if err := <-done; err != nil {
			return errtext.Errorf("switchyard: %s: what the ranks say of the pass: %w", op, err)
		}
		return cmp.Or(own, s.first(op, all))
	}
}

// first returns an error if one of the ranks has found anything.
func (s *Stage) first(op string, all []byte) error {
	for i := range len(all) / 8 {
		r := transport.Rank(i)
		switch word := binary.LittleEndian.Uint64(all[8*i:]); word {
		case 0:
		case made:
			return s.blamed(r, op, "in what its experts made; its own error says where")
		case unassigned:
			return &transport.Error{Rank: s.Joined(r), Op: op, Err: fmt.Errorf(
				"%w: its Config.Compression.Assign failed; its own error says why", alltoall.ErrRefused)}
		default:
			return s.blamed(r, op, fmt.Sprintf("row %d of its dy", word-1))
		}
	}
	return nil
}
