package router

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Cosine is the router that depends on the direction alone: the logit of an expert is cos(x·P,
// v)/τ, where P projects the token to a few columns and v is the expert's embedding there. It keeps
// tokens from collapsing towards the embeddings, as long ones let them under a plain product. A
// projected token or an embedding of zeros, or shorter than 1e-12, has the cosine 0 with
// everything, and no gradient.
//
// What follows the logits is [TopK]'s. X-MoE's weights are those of SoftmaxBefore. Cost:
// 2·T·(Dim+E)·Columns multiplications where a linear gate has T·Dim·E.
//
// (Chi et al. 2022, X-MoE; Tutel's cosine_top, which learns τ.)
type Cosine struct {
	TopK
	// Columns is the width of the projection; 0 stands for half the number of experts, at least 1.
	Columns int
	// Temperature is τ, or its initial value if it is learned; 0 stands for 0.07.
	Temperature float32
	// Learned makes the logarithm of 1/τ a parameter, which is taken for ln 100 if it is larger.
	// (Tutel.)
	Learned bool
}

var _ Router = Cosine{}

// maxCosineScale bounds 1/τ if it is learned. (Tutel, after CLIP.)
const maxCosineScale = 100

// New is described at [Router]. The parameters are "projection", Dim × Columns, and "embeddings", E
// × Columns, drawn uniformly from ±1/√Dim and ±1/√Columns, and if τ is learned "scale", of one
// element.
func (r Cosine) New(s Shape) (Gate, error) {
	if r.Columns == 0 {
		r.Columns = max(s.Experts/2, 1)
	}
	if r.Temperature == 0 {
		r.Temperature = 0.07
	}
	p := overrides{name: "Cosine", faults: r.ownFaults(s)}
	if len(p.faults)+len(checkShape(s)) == 0 {
		p.projection = newCosine(s, r)
	}
	return r.build(s, p)
}

func (r Cosine) ownFaults(s Shape) (faults []error) {
	if r.Columns < 1 || r.Columns > check.MaxSize {
		faults = append(faults, fmt.Errorf("router: Cosine: projection to %d columns, want 1 to %d", r.Columns, check.MaxSize))
	} else if len(checkShape(s)) == 0 {
		faults = tooLarge([]int{s.Dim, r.Columns}, []int{s.Experts, r.Columns}, []int{1})
	}
	if !(r.Temperature > 0) || isInf(r.Temperature) || isInf(1/r.Temperature) {
		faults = append(faults, fmt.Errorf("router: Cosine: temperature is %v, want a positive number", r.Temperature))
	}
	return faults
}

// Tensors of a cosine gate.
const (
	cosineProjection = iota
	cosineEmbeddings
	cosineScale
)

// cosine is the projection of [Cosine].
type cosine struct {
	set     *param.Set
	fixed   float32 // 1/τ, or 0 if it is a parameter
	columns int

	units   grid // unit vectors of the embeddings
	lengths []float64
	dtokens grid
}

// Memory of a cosine gate from forward to backward, in input.kept.
const (
	keptUnits   = iota // unit vectors of the projected tokens
	keptCosines        // tokens × experts
	keptLengths        // of the projected tokens
)

func newCosine(s Shape, r Cosine) *cosine {
	tensors := []param.Tensor{
		{Name: "projection", Shape: []int{s.Dim, r.Columns}},
		{Name: "embeddings", Shape: []int{s.Experts, r.Columns}},
	}
	if r.Learned {
		tensors = append(tensors, param.Tensor{Name: "scale", Shape: []int{1}})
	}
	c := &cosine{set: param.NewSet(tensors...), columns: r.Columns, fixed: 1 / r.Temperature}
	drawUniform(c.set, cosineProjection, s.Dim, s.Seed, 0xc051)
	drawUniform(c.set, cosineEmbeddings, r.Columns, s.Seed, 0xc052)
	if r.Learned {
		c.set.Of(c.set.Value, cosineScale)[0] = float32(-ln(float64(r.Temperature)))
		c.fixed = 0
	}
	return c
}

func (c *cosine) params() *param.Set { return c.set }

// scale returns 1/τ, and whether the parameter moves it.
func (c *cosine) scale() (scale float32, moves bool) {
	if c.fixed != 0 {
		return c.fixed, false
	}
	e := [1]float32{c.set.Of(c.set.Value, cosineScale)[0]}
	f32.Exp(e[:], e[:])
	if e[0] > maxCosineScale {
		return maxCosineScale, false
	}
	return e[0], true
}

func (c *cosine) forward(logits blas32.General, in *input) {
	tokens, embeddings := in.x.Rows, c.set.Matrix(c.set.Value, cosineEmbeddings)
	units, lengths := &in.kept[keptUnits], &in.kept[keptLengths]
	units.reset(tokens, c.columns)
	lengths.reset(tokens, 1)
	c.units.reset(embeddings.Rows, c.columns)
	c.lengths = mat.Reuse(c.lengths, embeddings.Rows)
	for e := range embeddings.Rows {
		c.lengths[e] = normalizeLength(c.units.row(e), mat.Row(embeddings, e))
	}
	if tokens == 0 {
		return
	}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, in.x, c.set.Matrix(c.set.Value, cosineProjection), 0, units.matrix())
	for t := range tokens {
		lengths.data[t] = float32(normalizeLength(units.row(t), units.row(t)))
	}
	cosines := &in.kept[keptCosines]
	cosines.reset(tokens, logits.Cols)
	gemm.Gemm(blas.NoTrans, blas.Trans, units.matrix(), c.units.matrix(), 0, cosines.matrix())
	scale, _ := c.scale()
	for t := range tokens {
		line := mat.Row(logits, t)
		copy(line, cosines.row(t))
		f32.Scale(line, scale)
	}
}

func (c *cosine) backward(dx, dlogits blas32.General, in *input, firstLeaf int) {
	scale, moves := c.scale()
	for t := range in.x.Rows {
		f32.Scale(mat.Row(dlogits, t), scale)
	}
	c.backwardTokens(dlogits, in)
	if !c.set.Frozen {
		c.leaves(dlogits, in, firstLeaf, moves)
	}
	if in.x.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, c.dtokens.matrix(), c.set.Matrix(c.set.Value, cosineProjection), 1, dx)
	}
}

// leaves gives the gradient of the parameters, of which the scale has one if it moves.
func (c *cosine) leaves(dcosines blas32.General, in *input, firstLeaf int, moves bool) {
	begin := 0
	for g, end := range in.Ends {
		leaf := c.set.Grad.Leaf(firstLeaf + g)
		if begin < end {
			c.backwardGroup(leaf, dcosines, in, begin, end)
		}
		if moves {
			c.set.Of(leaf, cosineScale)[0] = scaleGradient(dcosines, in, begin, end)
		}
		begin = end
	}
}

// backwardTokens fills dtokens, the gradient with respect to the projected tokens.
func (c *cosine) backwardTokens(dcosines blas32.General, in *input) {
	c.dtokens.reset(in.x.Rows, c.columns)
	if in.x.Rows == 0 {
		return
	}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, dcosines, c.units.matrix(), 0, c.dtokens.matrix())
	for t := range in.x.Rows {
		normalizeLengthBackward(c.dtokens.row(t), in.kept[keptUnits].row(t), float64(in.kept[keptLengths].data[t]))
	}
}

// backwardGroup fills the leaf of the tokens [begin, end), of which there is at least one.
func (c *cosine) backwardGroup(leaf []float32, dcosines blas32.General, in *input, begin, end int) {
	gemm.Gemm(blas.Trans, blas.NoTrans, mat.Rows(in.x, begin, end), mat.Rows(c.dtokens.matrix(), begin, end), 0, c.set.Matrix(leaf, cosineProjection))
	dunits, units := c.set.Matrix(leaf, cosineEmbeddings), in.kept[keptUnits].matrix()
	gemm.Gemm(blas.Trans, blas.NoTrans, mat.Rows(dcosines, begin, end), mat.Rows(units, begin, end), 0, dunits)
	for e := range dunits.Rows {
		normalizeLengthBackward(mat.Row(dunits, e), c.units.row(e), c.lengths[e])
	}
}

// scaleGradient is the gradient of the scale's logarithm: Σ dlogit·logit over the tokens [begin,
// end).
func scaleGradient(dcosines blas32.General, in *input, begin, end int) float32 {
	sum := 0.0
	for t := begin; t < end; t++ {
		sum += dot(mat.Row(dcosines, t), in.kept[keptCosines].row(t))
	}
	return float32(sum)
}

// shortest is the least length of a vector that has a direction. The gradient of a direction grows
// as 1/length, beyond what float32 holds where vectors are still shorter. (PyTorch's normalize
// bounds its divisor by the same.)
const shortest = 1e-12

// normalizeLength fills dst with x divided by its length, which it returns. Vectors below shortest
// become zeros, and have the length 0. dst may be x.
func normalizeLength(dst, x []float32) (length float64) {
	if length = math.Sqrt(dot(x, x)); length < shortest {
		length = 0
	}
	inv := 0.0
	if length != 0 {
		inv = 1 / length
	}
	for i, v := range x {
		dst[i] = float32(float64(v) * inv)
	}
	return length
}

// normalizeLengthBackward turns d, the gradient with respect to a unit vector, into the one with
// respect to the vector of the length given.
func normalizeLengthBackward(d, unit []float32, length float64) {
	if length == 0 {
		clear(d)
		return
	}
	along := dot(d, unit)
	for i, v := range d {
		d[i] = float32((float64(v) - float64(along*float64(unit[i]))) / length)
	}
}
