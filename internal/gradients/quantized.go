package gradients

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

// Gradients may be summed over the ranks in the numbers of a codec
// ([collective.Comm.AllReduceQuantized]). A rank adds up its own leaves first, in the order of the
// tree, and those of a layer's passes in the order of their numbers: so a layer sums once a step.
// What rounding loses of a set is kept for its next sum, in as many numbers as the set has. Sets of
// one rank alone are not rounded.

// sumsRow is the length of a row for which codecs are checked.
const sumsRow = 1024

// lostPrefix is what the names of entries begin with that have what rounding has lost.
const lostPrefix = "sums."

// CheckSums returns an error if gradients cannot be summed in a codec; nil is for exact sums.
func CheckSums(codec alltoall.Codec) error {
	if codec == nil {
		return nil
	}
	return alltoall.CheckCodec(codec, sumsRow)
}

// quantizer is the codec of sums, nil for exact ones as float32 has them.
func quantizer(codec alltoall.Codec) collective.Codec {
	if codec == nil || codec == alltoall.Codec(alltoall.Float32) {
		return nil
	}
	return codec
}

// Rounds tells whether sums in a codec are rounded.
func Rounds(codec alltoall.Codec) bool { return quantizer(codec) != nil }

// takeOwn sums the leaves of parts that this rank of comm holds, of which rank r holds leaves[r],
// and forgets them.
func takeOwn(comm *collective.Comm, leaves []int, parts ...part) error {
	first := mat.Sum(leaves[:comm.Rank()])
	end := first + leaves[comm.Rank()]
	for i, p := range parts {
		if !p.leaves.Holds(first, end) {
			return fmt.Errorf("gradient %d does not hold leaves %d to %d and no others", i, first, end-1)
		}
		*p.next = p.leaves.Take(*p.next)
	}
	return nil
}

// rounded is a vector that is summed over the ranks in few bits, and what its sums have lost.
type rounded struct {
	own  []float32
	lost *[]float32
}

// quantize sums vectors over the ranks of comm.
func quantize(ctx context.Context, comm *collective.Comm, codec collective.Codec, vectors []rounded) error {
	if len(vectors) == 0 || comm.Size() == 1 {
		return nil
	}
	x, feedback := make([][]float32, len(vectors)), make([][]float32, len(vectors))
	for i, v := range vectors {
		if len(*v.lost) != len(v.own) {
			*v.lost = make([]float32, len(v.own))
		}
		x[i], feedback[i] = v.own, *v.lost
	}
	return comm.AllReduceQuantized(ctx, codec, x, feedback)
}

// listLost lists what rounding has lost of a set, which is this rank's alone: a load on another
// number of ranks begins with nothing lost.
func listLost(l *parameters.Lister, name string, set *param.Set, lost *[]float32) {
	if set == nil || set.Frozen || len(set.Value) == 0 {
		return
	}
	if len(*lost) != len(set.Value) {
		*lost = make([]float32, len(set.Value))
	}
	data := *lost
	l.AddLocal(param.Entry{Name: name, Kind: set.Kind, Shape: []int{len(data)}, Data: data})
	l.OnSave(func() error {
		if len(*lost) != len(data) || &(*lost)[0] != &data[0] {
			return fmt.Errorf("%s has begun again", name)
		}
		return nil
	})
	l.OnLoad(func() error {
		if !f32.Finite(data) {
			return fmt.Errorf("%s has a number that is not finite", name)
		}
		return nil
	})
}
