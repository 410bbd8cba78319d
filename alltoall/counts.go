package alltoall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// A counts message is a row of little-endian 32-bit words: the fixed ones below, then the rows for
// each of the receiver's experts, then, if Auto predicts, the rows for each node. By the first two
// a rank sees that its peer runs another layer.
const (
	wordDim = iota
	wordExperts
	wordTokens
	wordPadding
	wordLeaves
	wordLeaving  // rows for other ranks, all of them
	wordCrossing // of those, for other nodes
	wordByNode   // of those, if a token crossed to a node once
	wordByRank   // of all, if a token went to a rank once
	countsHeader
)

// refused is the number of tokens if the sender could not route them. It travels as the highest
// word.
const refused = -1

// ErrRefused says that a rank refused its batch, since it could not route its tokens or they were
// not finite, so that no rank has sent any rows. All ranks return it, the one that refused with its
// reason, and all can go on with the next batch.
var ErrRefused = errors.New("the batch was refused")

// announcement is what a rank says that it will send: the rows for each expert computed here, not
// yet divided by leaf.
type announcement struct {
	tokens, padding, leaves int
	leaving                 int // rows for ranks other than the sender
	crossings
	rows   []int
	toNode []int // rows for each node, without those that stay on the sender
}

// exchangeCounts sends every rank the counts of what it will get from this one, and returns what
// this one will get, by sender. The result is valid until the next round begins. Or, if
// [Config.Allocates], it sends all counts, and sets loads to those of all ranks.
func (x *Exchange) exchangeCounts(ctx context.Context, q *Request, k crossings, loads *Loads) ([]announcement, error) {
	x.seq++
	x.now = x.chooser.chooseForCounts()
	x.round.begin()
	defer x.round.end()
	if x.allocates {
		return x.exchangeLoads(ctx, q, k, loads)
	}
	c, me, in := q.Counts, x.rank(), x.emptySplits(x.size())
	in[me] = x.encodeCounts(c, me, k)
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		in[r] = x.round.takeBytes(4 * (countsHeader + x.placement.Count(me) + x.chooser.countedNodes()))
		x.send(r, x.round.one(x.encodeCounts(c, r, k)))
		x.recv(r, x.round.one(in[r]))
	}
	if err := x.run(ctx, "counts"); err != nil {
		return nil, err
	}
	return x.decodeAll(in)
}

// Refuse takes the place of Begin on a rank that cannot route its tokens: the Begin of the other
// ranks returns [ErrRefused] with its number, at once, and every rank can go on with the next
// batch.
func (x *Exchange) Refuse(ctx context.Context) error {
	_, err := x.exchangeCounts(ctx, &Request{Counts: Counts{Tokens: refused, Rows: []int{}}}, crossings{}, nil)
	if errors.Is(err, ErrRefused) { // by this rank, or by another at the same time
		return nil
	}
	return err
}

// refuse has all ranks refuse the batch because of cause.
func (x *Exchange) refuse(ctx context.Context, cause *transport.Error) error {
	if err := x.Refuse(ctx); err != nil {
		return errors.Join(cause, err)
	}
	cause.Err = fmt.Errorf("%w: %w", ErrRefused, cause.Err)
	return cause
}

func (x *Exchange) encodeCounts(c Counts, to int, k crossings) []byte {
	begin, end := x.placement.Of(to)
	words := x.round.takeBytes(4 * (countsHeader + end - begin + x.chooser.countedNodes()))[:0]
	words = x.appendHead(words, c, k)
	for e := begin; e < end; e++ {
		words = binary.LittleEndian.AppendUint32(words, uint32(mat.Sum(c.ofExperts(e, e+1))))
	}
	return x.appendNodes(words, c)
}

// appendHead writes the fixed words.
func (x *Exchange) appendHead(words []byte, c Counts, k crossings) []byte {
	leaving := 0
	if len(c.Rows) > 0 {
		leaving = mat.Sum(c.Rows) - mat.Sum(c.ofExperts(x.placement.Of(x.rank())))
	}
	for _, n := range [countsHeader]int{x.dim, x.placement.Experts(), c.Tokens, c.Padding, c.Leaves, leaving, k.rows, k.byNode, k.byRank} {
		words = binary.LittleEndian.AppendUint32(words, uint32(n))
	}
	return words
}

// appendNodes writes the rows for each node, if Auto predicts.
func (x *Exchange) appendNodes(words []byte, c Counts) []byte {
	for _, members := range x.chooser.nodes.members[:x.chooser.countedNodes()] {
		rows := 0
		for _, r := range members {
			if len(c.Rows) > 0 && r != x.rank() {
				rows += mat.Sum(c.ofExperts(x.placement.Of(r)))
			}
		}
		words = binary.LittleEndian.AppendUint32(words, uint32(rows))
	}
	return words
}

func (x *Exchange) decodeAll(in [][]byte) ([]announcement, error) {
	x.announced = x.announced[:0]
	if err := x.findRefusal(in); err != nil {
		return nil, err
	}
	total, counts := int64(0), 0
	for s, words := range in {
		a, err := x.decodeCounts(s, words)
		if err != nil {
			return nil, err
		}
		x.announced = append(x.announced, a)
		for _, n := range a.rows {
			total += int64(n)
		}
		if total > int64(x.maxRows) {
			return nil, x.fault(s, "counts", transport.ErrTooLarge, "%d rows for rank %d from it and the ranks before, MaxRows is %d", total, x.rank(), x.maxRows)
		}
		if counts += a.leaves * len(a.rows); counts > x.counted {
			return nil, x.fault(s, "counts", transport.ErrTooLarge,
				"%d groups of tokens × experts of rank %d from it and the ranks before, MaxCounts is %d; larger groups are fewer", counts, x.rank(), x.counted)
		}
	}
	return x.announced, nil
}

// findRefusal returns an error if a rank has refused. It comes first of all, so that every rank
// finds the same.
func (x *Exchange) findRefusal(in [][]byte) error {
	for s, words := range in {
		if binary.LittleEndian.Uint32(words[4*wordTokens:]) == math.MaxUint32 {
			return x.fault(s, "counts", ErrRefused, "its own error says why")
		}
	}
	return nil
}

// decodeHead checks the fixed words.
func (x *Exchange) decodeHead(from int, words []byte) (announcement, error) {
	word := func(i int) int { return number(words[4*i:]) }
	if dim, experts := word(wordDim), word(wordExperts); dim != x.dim || experts != x.placement.Experts() {
		return announcement{}, x.fault(from, "counts", transport.ErrMismatch,
			"its layer has dim %d and %d experts, here %d and %d", dim, experts, x.dim, x.placement.Experts())
	}
	a := announcement{tokens: word(wordTokens), padding: word(wordPadding), leaves: word(wordLeaves), leaving: word(wordLeaving),
		crossings: crossings{word(wordCrossing), word(wordByNode), word(wordByRank)}}
	if a.tokens > mostRows || a.padding > a.tokens || a.leaves > a.tokens || (a.leaves == 0) != (a.tokens == 0) {
		return announcement{}, x.fault(from, "counts", transport.ErrProtocol,
			"%d tokens, %d of them padding, in %d leaves, limit %d tokens", a.tokens, a.padding, a.leaves, mostRows)
	}
	return a, nil
}

// decodeCounts checks every number against its limits.
func (x *Exchange) decodeCounts(from int, words []byte) (announcement, error) {
	a, err := x.decodeHead(from, words)
	if err != nil {
		return a, err
	}
	word := func(i int) int { return number(words[4*i:]) }
	experts := len(words)/4 - countsHeader - x.chooser.countedNodes()
	if counts := times(a.leaves, experts); counts > x.counted {
		return announcement{}, x.fault(from, "counts", transport.ErrTooLarge,
			"%d groups of tokens × experts of rank %d, MaxCounts is %d; larger groups are fewer", counts, x.rank(), x.counted)
	}
	a.rows = x.round.takeInts(experts)
	for e := range a.rows {
		if a.rows[e] = word(countsHeader + e); a.rows[e] > x.mostRows(a) {
			return announcement{}, x.fault(from, "counts", transport.ErrProtocol,
				"%d rows for its expert +%d here, of %d tokens", a.rows[e], e, a.tokens)
		}
	}
	if most := times(x.mostRows(a), x.placement.Experts()-x.placement.Count(from)); a.leaving > most {
		return announcement{}, x.fault(from, "counts", transport.ErrProtocol, "%d rows for other ranks, at most %d of %d tokens", a.leaving, most, a.tokens)
	}
	return x.decodeNodes(from, a, words[4*(countsHeader+experts):])
}

// decodeNodes reads the rows for each node, and checks what a says of rows for others.
func (x *Exchange) decodeNodes(from int, a announcement, words []byte) (announcement, error) {
	a.toNode = x.round.takeInts(x.chooser.countedNodes())
	for n := range a.toNode {
		if a.toNode[n] = number(words[4*n:]); a.toNode[n] > a.leaving {
			return announcement{}, x.fault(from, "counts", transport.ErrProtocol, "%d rows for node %d, of %d that leave", a.toNode[n], n, a.leaving)
		}
	}
	if a.crossings.rows > a.leaving || a.byNode > a.crossings.rows || a.byRank > a.leaving {
		return announcement{}, x.fault(from, "counts", transport.ErrProtocol, "%d rows for other nodes, %d and %d without repeated tokens, of %d", a.crossings.rows, a.byNode, a.byRank, a.leaving)
	}
	return a, nil
}

// times is a·b, or the highest number that an int holds if that is less.
func times(a, b int) int {
	hi, lo := bits.Mul(uint(a), uint(b))
	if hi > 0 || lo > math.MaxInt {
		return math.MaxInt
	}
	return int(lo)
}

// number reads a count. One that does not fit an int becomes the highest int, above every limit.
func number(word []byte) int { return int(min(uint64(binary.LittleEndian.Uint32(word)), math.MaxInt)) }

// mostRows is the most rows that one expert can get of what a announces.
func (x *Exchange) mostRows(a announcement) int {
	if x.leaf > 0 {
		return min(times(min(x.leaf, x.maxRows), a.leaves), mostRows)
	}
	return a.tokens - a.padding
}

// encodeSplits writes the counts of some experts, leaf by leaf.
func (x *Exchange) encodeSplits(list []int) []byte {
	words := x.round.takeBytes(4 * len(list))[:0]
	for _, n := range list {
		words = binary.LittleEndian.AppendUint32(words, uint32(n))
	}
	return words
}

// decodeSplits reads the division into leaves of what rank from has announced.
func (x *Exchange) decodeSplits(from int, a announcement, words []byte) (Counts, error) {
	c := Counts{Tokens: a.tokens, Padding: a.padding, Leaves: a.leaves, Rows: x.round.takeInts(len(a.rows) * a.leaves)}
	if len(words) == 0 { // nothing was announced, so nothing came
		clear(c.Rows)
		return c, nil
	}
	for e, want := range a.rows {
		total := 0
		for l := range a.leaves {
			i := e*a.leaves + l
			c.Rows[i] = number(words[4*i:])
			total += c.Rows[i]
		}
		if total != want {
			return c, x.fault(from, "dispatch", transport.ErrProtocol, "leaves of its expert +%d here hold %d rows, announced %d", e, total, want)
		}
	}
	return c, nil
}
