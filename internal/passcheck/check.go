// Package passcheck finds numbers that are not finite in a pass of a layer, and shares what each
// rank has found, so that the pass fails on every rank with the name of the rank where the number
// arose.
//
// A rank that finds something late in a pass sends its rows all the same, since other ranks wait
// for them, and says what it found beside them. Numbers that are made of its rows elsewhere are
// then not finite either; what was found earliest in the pass tells where the first arose.
package passcheck

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
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
	// Ranks is the number of all ranks.
	Ranks int
	// Rank is this rank's number, and Joined the number by which errors name a rank.
	Rank   transport.Rank
	Joined func(transport.Rank) transport.Rank
	// Wire is the formats in which rows travel. With Finite what ranks make is checked too, and
	// what codecs round, and not only what the caller gives.
	Wire alltoall.Wire
	// Gradients is the format of the gradients of all rows, if they travel beside centroids.
	Gradients alltoall.Codec
}

// Stage checks the passes of a rank. Its methods may be called for several passes at a time, and
// Share in the same order on every rank.
type Stage struct{ Config }

// New makes a stage.
func New(cfg Config) *Stage { return &Stage{cfg} }

// Fault is what a rank has found wrong earliest in a pass.
type Fault struct {
	err  error
	word word
}

// Found reports whether anything was found.
func (f *Fault) Found() bool { return f.err != nil }

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
func (s *Stage) Gradient(f *Fault, dy blas32.General) { s.find(f, outputGradients, dy) }

// Made notes the first number that is not finite in what this rank has made in a pass, if
// Wire.Finite.
func (s *Stage) Made(f *Fault, k Kind, list ...blas32.General) {
	if s.Wire.Finite {
		s.find(f, k, list...)
	}
}

// Arrived notes the first row of m that is not finite after a codec other than Float32 has rounded
// it, if Wire.Finite: the fault of the rank that sent it, which sender tells of a row.
func (s *Stage) Arrived(f *Fault, k Kind, m blas32.General, sender func(row int) transport.Rank) {
	codec := s.codec(k)
	if f, ok := codec.(alltoall.Format); !s.Wire.Finite || ok && f == alltoall.Float32 {
		return
	}
	if r, j := Infinite(m); r >= 0 {
		from := sender(r)
		what := fmt.Sprintf("row %d, column %d of %v is %v in %v", r, j, k, mat.Row(m, r)[j], codec)
		f.note(wordOf(k, int(from)), s.blamed(from, k.op(), what))
	}
}

func (s *Stage) find(f *Fault, k Kind, list ...blas32.General) {
	for _, m := range list {
		if r, j := Infinite(m); r >= 0 {
			what := fmt.Sprintf("row %d, column %d of %v is %v", r, j, k, mat.Row(m, r)[j])
			f.note(wordOf(k, r), s.blamed(s.Rank, k.op(), what))
			return
		}
	}
}

// Unassigned notes why Compression.Assign has made no clusters.
func (s *Stage) Unassigned(f *Fault, err error) {
	f.note(wordOf(clusters, 0), &transport.Error{Rank: s.Joined(s.Rank), Op: clusters.op(),
		Err: fmt.Errorf("%w: Config.Compression.Assign: %w", alltoall.ErrRefused, err)})
}

// HookFailed notes the error of a hook.
func (s *Stage) HookFailed(f *Fault, k Kind, err error) {
	f.note(word(k)<<rowBits|failed, &transport.Error{Rank: s.Joined(s.Rank), Op: k.op(),
		Err: fmt.Errorf("%w: %s: %w", alltoall.ErrRefused, k.hookName(), err)})
}

// Merge keeps what was found in other if it is earlier in the pass.
func (f *Fault) Merge(other *Fault) {
	if other.Found() {
		f.note(other.word, other.err)
	}
}

// note keeps what was found if it is earlier in the pass than what was found before.
func (f *Fault) note(w word, err error) {
	if !f.Found() || w.kind().stage() < f.word.kind().stage() {
		f.err, f.word = err, w
	}
}

func (s *Stage) blamed(r transport.Rank, op, what string) error {
	return &transport.Error{Rank: s.Joined(r), Op: op,
		Err: fmt.Errorf("%w: %w: %s", alltoall.ErrRefused, alltoall.ErrNotFinite, what)}
}

// Share sends what this rank has found to all ranks, while rows travel, and returns what waits for
// the others: the error of the pass on every rank if one of them has found anything. It names the
// rank that is to blame for the earliest in the pass, the lowest of several; if this rank has found
// another as early, its own error follows.
//
// Direct: 8 bytes to each other rank.
func (s *Stage) Share(ctx context.Context, comm *collective.Comm, op string, f *Fault) (wait func() error) {
	size, own := s.Ranks, f.err
	mine := binary.LittleEndian.AppendUint64(nil, uint64(f.word))
	if size == 1 {
		return func() error { return own }
	}
	all, done := make([]byte, size*len(mine)), make(chan error, 1)
	go func() { done <- comm.AllGather(ctx, all, mine) }()
	return func() error {
		if err := <-done; err != nil {
			return errtext.Errorf("switchyard: %s: what the ranks say of the pass: %w", op, err)
		}
		return s.verdict(all, own)
	}
}

// verdict is the error of the pass of what all ranks have found, own by this one.
func (s *Stage) verdict(all []byte, own error) error {
	var finder, culprit transport.Rank
	var earliest word
	at := func(r transport.Rank) word { return word(binary.LittleEndian.Uint64(all[8*int(r):])) }
	for i := range len(all) / 8 {
		r := transport.Rank(i)
		w := at(r)
		later := cmp.Compare(w.kind().stage(), earliest.kind().stage())
		if blamed := w.culprit(r, s.Ranks); w != 0 && (earliest == 0 || later < 0 || later == 0 && blamed < culprit) {
			finder, culprit, earliest = r, blamed, w
		}
	}
	switch mine := at(s.Rank); {
	case earliest == 0:
		return nil
	case finder == s.Rank:
		return own
	case mine != 0 && mine.kind().stage() == earliest.kind().stage():
		return errors.Join(s.said(culprit, earliest), own)
	}
	return s.said(culprit, earliest)
}

// said is the error of a rank that found something, as the others know it.
func (s *Stage) said(r transport.Rank, w word) error {
	switch k := w.kind(); {
	case k.travelled():
		return s.blamed(r, k.op(), fmt.Sprintf("%v, in %v", k, s.codec(k)))
	case w.hookFailed():
		return &transport.Error{Rank: s.Joined(r), Op: k.op(), Err: fmt.Errorf(
			"%w: its %s failed; its own error says why", alltoall.ErrRefused, k.hookName())}
	case k != clusters:
		return s.blamed(r, k.op(), fmt.Sprintf("row %d of %v", w.row(), k))
	}
	return &transport.Error{Rank: s.Joined(r), Op: clusters.op(), Err: fmt.Errorf(
		"%w: its Config.Compression.Assign failed; its own error says why", alltoall.ErrRefused)}
}
