package router

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Routes are stored in a binary file. All numbers are little-endian; a word is 32 bits.
//
//	file    "SWYROUTE", word version = 2, then records up to the end
//	record  word layer, word experts E, 64 bits step, word micro-batch, word train (0 or 1),
//	        word groups G, word tokens T, word entries N,
//	        G words: ends of the groups of tokens
//	        E words: ends of the experts' entries
//	        E words: tokens that chose each expert, before drops
//	        N words: token of each entry
//	        N words: weight of each entry, float32
//	        word CRC-32C of the record up to here
//
// So a record is 40 + 4·(G + 2·E + 2·N) bytes. Version 1 had no numbers of micro-batches: its
// records were known by their order alone, and are not read.
const (
	recordingMagic   = "SWYROUTE"
	recordingVersion = 2
	recordHead       = 36 // bytes up to the groups
)

// Bounds of the lengths of a record. Memory grows with the bytes read, not with these lengths, but
// an absurd length is reported by name.
const (
	maxRecordedGroups  = 1 << 24
	maxRecordedExperts = 1 << 20
	maxRecordedTokens  = 1 << 30
)

// RouteKey identifies a recorded batch.
type RouteKey struct {
	// Layer is what [Record] calls the layer.
	Layer int
	// Step, Micro and Train are those of the [Batch].
	Step, Micro int
	Train       bool
}

// String names the batch, as errors do.
func (k RouteKey) String() string {
	of := "evaluation"
	if k.Train {
		of = "training"
	}
	return fmt.Sprintf("layer %d, step %d, micro-batch %d in %s", k.Layer, k.Step, k.Micro, of)
}

// RecordedRoute is one decision, as a file of routes holds it.
type RecordedRoute struct {
	// RouteKey identifies the batch. A file has one route of each, or several that are equal.
	RouteKey
	// Groups is the batch's Ends.
	Groups []int
	// Assignment has the experts and weights of each token, without dropped choices.
	Assignment
	// Counts is the number of tokens that chose each expert, before any were dropped.
	Counts []int
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// append appends r's record to b.
func (r *RecordedRoute) append(b []byte) []byte {
	le, begin := binary.LittleEndian, len(b)
	b = le.AppendUint32(b, uint32(r.Layer))
	b = le.AppendUint32(b, uint32(r.Experts))
	b = le.AppendUint64(b, uint64(r.Step))
	b = le.AppendUint32(b, uint32(r.Micro))
	train := uint32(0)
	if r.Train {
		train = 1
	}
	for _, n := range [...]uint32{train, uint32(len(r.Groups)), uint32(r.Tokens), uint32(len(r.Token))} {
		b = le.AppendUint32(b, n)
	}
	for _, list := range [...][]int{r.Groups, r.Ends, r.Counts} {
		for _, n := range list {
			b = le.AppendUint32(b, uint32(n))
		}
	}
	for _, t := range r.Token {
		b = le.AppendUint32(b, uint32(t))
	}
	for _, w := range r.Weight {
		b = le.AppendUint32(b, math.Float32bits(w))
	}
	return le.AppendUint32(b, crc32.Checksum(b[begin:], castagnoli))
}

// validate returns what is wrong with a key.
func (k RouteKey) validate() error {
	if min(k.Layer, k.Step, k.Micro) < 0 || max(int64(k.Layer), int64(k.Micro)) > math.MaxUint32 {
		return fmt.Errorf("%v: numbers must be 0 to 2³²−1, and that of the step at least 0", k)
	}
	return nil
}

// validate returns what is wrong with a route, whether it was read or recorded.
func (r *RecordedRoute) validate() error {
	if err := r.RouteKey.validate(); err != nil {
		return err
	}
	if r.Experts > maxRecordedExperts || len(r.Groups) > maxRecordedGroups || r.Tokens > maxRecordedTokens {
		return fmt.Errorf("%d experts, %d groups, %d tokens are too many", r.Experts, len(r.Groups), r.Tokens)
	}
	begin := 0
	for g, end := range r.Groups {
		if end < begin {
			return fmt.Errorf("group %d ends at token %d, before its begin at %d", g, end, begin)
		}
		begin = end
	}
	if begin != r.Tokens {
		return fmt.Errorf("groups end at token %d of %d", begin, r.Tokens)
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if i := firstInfinite(r.Weight); i >= 0 {
		return fmt.Errorf("weight of entry %d is %v", i, r.Weight[i])
	}
	return r.validateCounts()
}

func (r *RecordedRoute) validateCounts() error {
	if len(r.Counts) != r.Experts {
		return fmt.Errorf("counts of %d experts for %d", len(r.Counts), r.Experts)
	}
	for e, n := range r.Counts {
		if begin, end := r.Of(ExpertID(e)); n < end-begin || n > r.Tokens {
			return fmt.Errorf("expert %d holds %d of %d tokens, and %d chose it", e, end-begin, r.Tokens, n)
		}
	}
	return nil
}

// RouteReader reads the routes of a file one by one. It checks everything that it reads.
type RouteReader struct {
	r    io.Reader
	read int   // records
	at   int64 // bytes
	sum  uint32
	buf  [4096]byte
}

// NewRouteReader checks the header of a file of routes.
func NewRouteReader(r io.Reader) (*RouteReader, error) {
	var head [len(recordingMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, errtext.Errorf("router: header of a file of routes: %w", unexpected(err))
	}
	if magic := string(head[:len(recordingMagic)]); magic != recordingMagic {
		return nil, fmt.Errorf("router: not a file of routes: it begins with %q, want %q", magic, recordingMagic)
	}
	if v := binary.LittleEndian.Uint32(head[len(recordingMagic):]); v != recordingVersion {
		return nil, fmt.Errorf("router: file of routes of version %d, want %d: record it anew", v, recordingVersion)
	}
	return &RouteReader{r: r, at: int64(len(head))}, nil
}

// Next returns the next route, which belongs to the caller, or io.EOF after the last. Any other
// error names the record, and later calls return it too.
func (r *RouteReader) Next() (*RecordedRoute, error) {
	route, err := r.next()
	if err != nil && err != io.EOF {
		err = errtext.Errorf("router: route %d of a file: %w", r.read, err)
	}
	r.read++
	return route, err
}

func (r *RouteReader) next() (*RecordedRoute, error) {
	r.sum = 0
	head := r.buf[:recordHead]
	if n, err := r.fill(head); n == 0 && err == io.EOF {
		return nil, io.EOF
	} else if err != nil {
		return nil, unexpected(err)
	}
	le := binary.LittleEndian
	step, train := le.Uint64(head[8:]), le.Uint32(head[20:])
	groups, tokens, entries := le.Uint32(head[24:]), le.Uint32(head[28:]), le.Uint32(head[32:])
	route := &RecordedRoute{RouteKey: RouteKey{int(le.Uint32(head)), int(step), int(le.Uint32(head[16:])), train == 1}}
	route.Experts, route.Tokens = int(le.Uint32(head[4:])), int(tokens)
	if train > 1 || step > math.MaxInt {
		return nil, fmt.Errorf("train is %d, want 0 or 1, and step %d", train, step)
	}
	if groups > maxRecordedGroups || le.Uint32(head[4:]) > maxRecordedExperts || uint64(entries) > math.MaxInt || tokens > maxRecordedTokens ||
		uint64(entries) > uint64(tokens)*uint64(route.Experts) {
		return nil, fmt.Errorf("%d groups, %d experts, %d tokens, %d entries are too many", groups, route.Experts, tokens, entries)
	}
	if err := r.body(route, int(groups), int(entries)); err != nil {
		return nil, err
	}
	return route, route.validate()
}

// body reads what follows a record's lengths, and checks its sum.
func (r *RouteReader) body(route *RecordedRoute, groups, entries int) error {
	toInt := func(v uint32) int { return int(v) }
	var err error
	for _, list := range []struct {
		dst *[]int
		n   int
	}{{&route.Groups, groups}, {&route.Ends, route.Experts}, {&route.Counts, route.Experts}} {
		if *list.dst, err = words(r, list.n, toInt); err != nil {
			return err
		}
	}
	if route.Token, err = words(r, entries, func(v uint32) int32 { return int32(v) }); err != nil {
		return err
	}
	if route.Weight, err = words(r, entries, math.Float32frombits); err != nil {
		return err
	}
	want := r.sum
	got, err := words(r, 1, func(v uint32) uint32 { return v })
	if err != nil {
		return err
	}
	if got[0] != want {
		return fmt.Errorf("checksum is %08x, want %08x", got[0], want)
	}
	return nil
}

// words reads n words. Memory grows with the bytes that arrive, not with n.
func words[T any](r *RouteReader, n int, of func(uint32) T) ([]T, error) {
	var list []T
	for len(list) < n {
		b := r.buf[:4*min(n-len(list), len(r.buf)/4)]
		if _, err := r.fill(b); err != nil {
			return nil, unexpected(err)
		}
		for ; len(b) > 0; b = b[4:] {
			list = append(list, of(binary.LittleEndian.Uint32(b)))
		}
	}
	return list, nil
}

// fill fills b, and counts and sums it up.
func (r *RouteReader) fill(b []byte) (int, error) {
	n, err := io.ReadFull(r.r, b)
	r.at += int64(n)
	r.sum = crc32.Update(r.sum, castagnoli, b[:n])
	return n, err
}

// unexpected says of an end of file that it came too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
