package expert

import (
	"fmt"
	"hash/fnv"

	"github.com/switchyard-moe/switchyard/internal/moments"
	"github.com/switchyard-moe/switchyard/param"
)

// Moments is how an optimizer keeps its moments. In fewer bits they are rounded after each update,
// in blocks of 128 numbers, of which each has a scale; an update reads and writes one block after
// the other. Blocks do not go beyond a tensor, nor, in sets of kind [param.Expert], beyond one
// expert's part of it. So the results are the same wherever experts are.
//
// First moments are rounded to nearest. Second moments change by a small part in an update, which
// that would take back; they are rounded up or down such that they are right on average, by a hash
// of the number of updates, the tensor's name and the index. So the same updates give the same
// bits.
//
// A block of zeros stays one. A moment that becomes NaN or infinite makes its block NaN, and with
// the next update the block's parameters.
type Moments int

const (
	// Float32Moments keeps moments as they are computed: 4 bytes a parameter each.
	Float32Moments Moments = iota
	// FP8Moments keeps them as E4M3 of powers of their magnitudes, by which each block fills the
	// range of E4M3: the dynamic range expansion of COAT (Xi et al. 2024, arXiv 2410.19313). That is
	// 1.04 bytes a parameter each. A second moment that is not 0 does not become 0.
	FP8Moments
	// Int4Moments keeps them in four bits, 0.54 bytes a parameter each: first moments as integers
	// from -7 to 7 of roots of their magnitudes, and second moments as one of 15 powers from the
	// largest of the block to the least that is not 0, as the second moment must not become 0 (Li,
	// Chen and Zhu 2023, arXiv 2309.01507).
	Int4Moments

	momentsKinds int = iota
)

// String returns "float32", "fp8" or "int4".
func (m Moments) String() string {
	if !m.known() {
		return fmt.Sprintf("Moments(%d)", int(m))
	}
	return [momentsKinds]string{"float32", "fp8", "int4"}[m]
}

func (m Moments) known() bool { return m >= 0 && int(m) < momentsKinds }

// Bytes returns what one moment of a tensor of n elements takes. The second one of Int4Moments
// takes a byte more for each block.
func (m Moments) Bytes(n int) int {
	if m == Float32Moments {
		return 4 * n
	}
	return m.first().Bytes(n)
}

// first and second are the formats of two moments in fewer bits.

func (m Moments) first() moments.Format {
	if m == FP8Moments {
		return moments.FP8
	}
	return moments.Int4
}

func (m Moments) second() moments.Format {
	if m == FP8Moments {
		return moments.FP8
	}
	return moments.Log4
}

// moments notes a way to keep moments that there is not.
func (s *settings) moments(m Moments) {
	if !m.known() {
		s.faults = append(s.faults, fmt.Errorf(
			"expert: %s.Moments is %d, must be %d to %d", s.name, int(m), 0, momentsKinds-1))
	}
}

// momentsText is the part of an optimizer's String about moments; nothing if they are float32.
func momentsText(m Moments) string {
	if m == Float32Moments {
		return ""
	}
	return fmt.Sprintf(" Moments:%v", m)
}

// block is up to 128 elements of a set.
type block struct {
	tensor   string
	from, to int    // the index of the first element and that after the last
	id       uint64 // the same in a set of another number of experts
}

// eachBlock calls do for the blocks of a set in order.
func eachBlock(p *param.Set, do func(block)) {
	at := 0
	for _, t := range p.Tensors() {
		parts := 1
		if p.Kind == param.Expert && len(t.Shape) > 0 {
			parts = max(t.Shape[0], 1)
		}
		each := t.Len() / parts
		hash := fnv.New64a()
		_, _ = hash.Write([]byte(t.Name))
		for range parts {
			id := hash.Sum64()
			for end := at + each; at < end; id++ {
				next := min(at+moments.Block, end)
				do(block{t.Name, at, next, id})
				at = next
			}
		}
	}
}

// vector is a moment of a set as it is kept: numbers, or codes of a format.
type vector struct {
	data   []float32
	codes  []byte // nil: numbers
	format moments.Format
}

// newVector makes one of zeros.
func newVector(p *param.Set, m Moments, format moments.Format) vector {
	if m == Float32Moments {
		return vector{data: make([]float32, len(p.Value))}
	}
	n := 0
	eachBlock(p, func(b block) { n += format.Bytes(b.to - b.from) })
	return vector{codes: make([]byte, n), format: format}
}

// converted is v in another form.
func (v *vector) converted(p *param.Set, m Moments, format moments.Format) vector {
	to := newVector(p, m, format)
	read, write := cursor{vector: v}, cursor{vector: &to}
	var room [moments.Block]float32
	eachBlock(p, func(b block) {
		numbers := room[:b.to-b.from]
		read.next(numbers)
		write.set(numbers)
	})
	return to
}

// moment describes v for a checkpoint.
func (v *vector) moment(name string) Moment {
	if v.codes == nil {
		return Moment{Name: name, Data: v.data}
	}
	return Moment{Name: fmt.Sprintf("%s.%v", name, v.format), Codes: v.codes, Size: v.format.Bytes}
}

// cursor goes through the blocks of a vector.
type cursor struct {
	*vector
	at int
}

// get reads a block.
func (c *cursor) get(block []float32) {
	if c.codes == nil {
		copy(block, c.data[c.at:])
		return
	}
	c.format.Decode(block, c.codes[c.at:])
}

// next reads a block and goes on to the next one.
func (c *cursor) next(block []float32) {
	c.get(block)
	c.pass(len(block))
}

// set writes a block, rounded to nearest, and goes on to the next one.
func (c *cursor) set(block []float32) {
	if c.codes == nil {
		copy(c.data[c.at:], block)
	} else {
		c.format.Encode(c.codes[c.at:], block)
	}
	c.pass(len(block))
}

// setStochastic writes codes of a block, with stochastic rounding, and goes on to the next one.
func (c *cursor) setStochastic(block []float32, seed uint64) {
	c.format.EncodeStochastic(c.codes[c.at:], block, seed)
	c.pass(len(block))
}

// pass goes past n numbers.
func (c *cursor) pass(n int) {
	if c.codes != nil {
		n = c.format.Bytes(n)
	}
	c.at += n
}
