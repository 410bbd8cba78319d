package router

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Hash chooses a token's experts by a hash of the token, the same in every step: nothing is
// learned, the load is as even as the hash makes it, and there is no gradient. Weights are 1/K.
//
// What is hashed is the token's number in its vocabulary, [Batch.IDs], not its row, which changes
// as the layers below learn. The hash depends on that number, the number of the choice among K and
// [Shape.Seed] alone and is integer arithmetic, so it is the same on all machines. The layers of a
// world have different seeds, and send a token to different experts.
//
// (Roller et al. 2021, "Hash layers": random hash, or with Table their balanced hash; HetuMoE's
// hash gate.)
type Hash struct {
	// K is the number of different experts of each token, from 1 to all; 0 stands for 1.
	K int
	// Table, if not nil, holds the expert of each token of the vocabulary and replaces the hash. It
	// needs K = 1. New copies it. See [BalancedTable].
	Table []ExpertID
	// Rows hashes the bits of a token's row in place of its number: equal rows go to equal experts.
	// It is for rows that stay as they are, such as frozen embeddings.
	Rows bool
}

var _ Router = Hash{}

// String tells how tokens are hashed, and of a table only its length and a hash of it.
func (r Hash) String() string {
	h := uint64(len(r.Table))
	for _, e := range r.Table {
		h = mix(h, uint64(e))
	}
	return fmt.Sprintf("{K:%d Rows:%v Table:%d entries, hash %016x}", r.K, r.Rows, len(r.Table), h)
}

// New is described at [Router].
func (r Hash) New(s Shape) (Gate, error) {
	if r.K == 0 {
		r.K = 1
	}
	if err := errors.Join(slices.Concat(checkShape(s), checkK("Hash", r.K, s.Experts), r.faults(s))...); err != nil {
		return nil, err
	}
	h := &hashes{seed: s.Seed, count: s.Experts, rows: r.Rows, table: slices.Clone(r.Table)}
	return &hashed{given{shape: s, k: r.K, rule: h}, h}, nil
}

// faults returns what is wrong with the table.
func (r Hash) faults(s Shape) (faults []error) {
	if r.Table == nil {
		return nil
	}
	if r.K != 1 || r.Rows {
		faults = append(faults, errors.New("router: Hash: a table goes with K = 1 and token numbers"))
	}
	for id, e := range r.Table {
		if e < 0 || int(e) >= s.Experts {
			return append(faults, fmt.Errorf("router: Hash: token %d of the table goes to expert %d of %d", id, e, s.Experts))
		}
	}
	return faults
}

// hashed is the gate of [Hash].
type hashed struct {
	given
	hashes *hashes
}

// Route is described at [Gate]. It is an error if tokens have no numbers, or one has a number
// that the table has not.
func (g *hashed) Route(x blas32.General, b Batch) (*Decision, error) {
	if !g.hashes.rows && len(b.IDs) != x.Rows {
		return nil, fmt.Errorf("router: Hash: %d token numbers (IDs) for %d tokens", len(b.IDs), x.Rows)
	}
	if n := len(g.hashes.table); n != 0 {
		for t, id := range b.IDs {
			if (id < 0 || int(id) >= n) && !b.padded(t) {
				return nil, fmt.Errorf("router: token %d has number %d, the table has %d", t, id, n)
			}
		}
	}
	return g.given.Route(x, b)
}

// hashes is the rule of [Hash].
type hashes struct {
	seed  uint64
	count int
	rows  bool
	table []ExpertID
}

func (h *hashes) experts(dst []int32, in *input, t, _ int) {
	if h.table != nil {
		dst[0] = int32(h.table[in.IDs[t]])
		return
	}
	var key uint64
	if h.rows {
		for _, v := range mat.Row(in.x, t) {
			key = mix(key, uint64(math.Float32bits(v)))
		}
	} else {
		key = uint64(uint32(in.IDs[t]))
	}
	for j := range dst {
		// The upper half of the product spreads 64 random bits evenly over the numbers below the factor.
		nth, _ := bits.Mul64(mix(mix(h.seed, uint64(j)), key), uint64(h.count-j))
		dst[j] = int32(nth)
	}
	distinct(dst)
}

// BalancedTable returns a table for [Hash] that balances the load: tokens are dealt in order of
// falling frequency, each to the expert with the least load so far, and among equal ones to the
// lowest. frequency holds how often each token of the vocabulary occurs. (Roller et al. 2021,
// balanced assignment.)
func BalancedTable(frequency []int, experts int) []ExpertID {
	if experts < 1 {
		panic(fmt.Sprintf("router: BalancedTable for %d experts", experts))
	}
	order := make([]int, len(frequency))
	for id := range order {
		order[id] = id
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(frequency[b], frequency[a]), cmp.Compare(a, b))
	})
	table, load := make([]ExpertID, len(frequency)), make([]int, experts)
	for _, id := range order {
		least := slices.Index(load, slices.Min(load))
		table[id] = ExpertID(least)
		load[least] += frequency[id]
	}
	return table
}
