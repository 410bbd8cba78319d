package expert

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Shardable is an [Expert] that can be cut over ranks by its hidden units, as Megatron-LM's tensor
// parallelism and FSMoE's expert sharding do: [SwiGLU], and [FFN] without biases.
type Shardable interface {
	Expert
	// Shard returns part number part of parts: of H hidden units those from part·H/parts up to
	// (part+1)·H/parts, rounded down. Its tensors are those of the whole, with these units alone and
	// the first values that they have in the whole. It answers with its addend: the answers of all
	// parts to the same rows, and their gradients of these rows, add up to those of the whole, up to
	// rounding. The gradients of its parameters are those of the whole, bit for bit.
	Shard(part, parts int) (Expert, error)
}

var _, _ Shardable = FFN{}, SwiGLU{}

// Shard implements [Shardable].
func (c SwiGLU) Shard(part, parts int) (Expert, error) {
	first, hidden, err := units(part, parts, c.Hidden)
	if err != nil {
		return nil, err
	}
	small := c
	small.Hidden = hidden
	return shard{Expert: small, whole: c, first: first}, nil
}

// Shard implements [Shardable]. Biases are an error: b2 is of no hidden unit.
func (f FFN) Shard(part, parts int) (Expert, error) {
	first, hidden, err := units(part, parts, f.Hidden)
	if err != nil {
		return nil, err
	}
	if !f.NoBias {
		return nil, fmt.Errorf("expert: Shard: an FFN with biases cannot be cut; want NoBias")
	}
	small := f
	small.Hidden = hidden
	return shard{Expert: small, whole: f, first: first}, nil
}

// units returns the first hidden unit of a part, and how many it has.
func units(part, parts, hidden int) (first, count int, err error) {
	if parts < 1 || part < 0 || part >= parts {
		return 0, 0, fmt.Errorf("expert: Shard: part %d of %d; want one from 0 to the number of parts less 1", part, parts)
	}
	if parts > hidden {
		return 0, 0, fmt.Errorf("expert: Shard: %d hidden units in %d parts; every part needs one", hidden, parts)
	}
	first = part * hidden / parts
	return first, (part+1)*hidden/parts - first, nil
}

// shard is a part of an expert.
type shard struct {
	Expert // as large as the part
	whole  Expert
	first  int // hidden unit of the part
}

// New implements [Expert].
func (s shard) New(shape Shape) (Group, error) {
	g, err := s.Expert.New(shape)
	if err != nil {
		return nil, err
	}
	for e := range shape.Count {
		one := shape
		one.First, one.Count = one.First+e, 1
		whole, err := s.whole.New(one)
		if err != nil {
			return nil, err
		}
		s.cut(g.Params(), e, whole.Params())
	}
	return g, nil
}

// cut gives expert e the values of its hidden units in the whole.
func (s shard) cut(to *param.Set, e int, whole *param.Set) {
	for t := range to.Tensors() {
		dst, src := to.Slice(to.Value, t, e), whole.Slice(whole.Value, t, 0)
		if dst.Rows < src.Rows {
			src = mat.Rows(src, s.first, s.first+dst.Rows)
		} else if dst.Cols < src.Cols {
			src = columns(src, s.first, s.first+dst.Cols)
		}
		mat.Copy(dst, src)
	}
}

// columns returns columns begin to end of m, which has some, in its memory.
func columns(m blas32.General, begin, end int) blas32.General {
	m.Cols, m.Data = end-begin, m.Data[begin:]
	return m
}
