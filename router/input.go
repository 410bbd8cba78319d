package router

import (
	"math"
	"math/rand/v2"
	"sort"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// projection makes the logits of tokens.
type projection interface {
	params() *param.Set
	// forward fills logits, tokens × experts, padding included.
	forward(logits blas32.General, in *input)
	// backward adds to dx the gradient of the tokens for dlogits, whose rows of padding are zero.
	// The parameters' gradient is a leaf for each token group, from firstLeaf on. dlogits is packed,
	// and may be changed. in is the input of forward, with the memory that forward kept.
	backward(dx, dlogits blas32.General, in *input, firstLeaf int)
}

// checker is a projection that reads more of a batch than its tokens.
type checker interface {
	// check returns what is missing of it.
	check(in *input) error
}

// input is the batch as a projection sees it.
type input struct {
	x blas32.General
	Batch
	clean [2]grid // copies of x and Features without padding
	kept  [6]grid // memory of the projection's own, from forward to backward
	noisy bool    // whether learned or fixed Gaussian noise is in the logits

	seed uint64
}

// set makes in the input of a batch. It keeps no slice of b's but Features.
func (in *input) set(x blas32.General, b Batch, seed uint64) {
	ends, padding, ids := append(in.Ends[:0], b.Ends...), append(in.Padding[:0], b.Padding...), append(in.IDs[:0], b.IDs...)
	sequences := append(in.Sequences[:0], b.Sequences...)
	in.Batch, in.seed, in.noisy = b, seed, false
	in.Ends, in.Padding, in.IDs, in.Sequences = ends, padding, ids, sequences
	in.setTokens(x)
	in.Features = withoutPadding(in.Features, in.Padding, &in.clean[1])
}

// setTokens makes x the tokens of the batch.
func (in *input) setTokens(x blas32.General) { in.x = withoutPadding(x, in.Padding, &in.clean[0]) }

// noise returns random bits for row t of the batch. They depend on the gate's seed, the step, what
// the bits are for, the token's row within its token group and the signs of its elements, and on
// nothing else. So no rank need know where in the global batch its tokens stand, a pass run again
// draws the same, and tokens that are alike draw differently; and since a small change of a token
// leaves the signs, its noise is a constant to the gradient.
func (in *input) noise(t int, purpose uint64) rand.PCG {
	h := mix(purpose, uint64(t-in.groupBegin(t)))
	signs := uint64(0)
	for i, v := range mat.Row(in.x, t) {
		signs <<= 1
		if v < 0 {
			signs |= 1
		}
		if i%64 == 63 {
			h = mix(h, signs)
		}
	}
	var p rand.PCG
	p.Seed(mix(in.seed, uint64(in.Step)), mix(h, signs))
	return p
}

// groupBegin returns the first row of the token group of row t.
func (in *input) groupBegin(t int) int {
	if g := sort.SearchInts(in.Ends, t+1); g > 0 {
		return in.Ends[g-1]
	}
	return 0
}

// mix hashes v into h. (The finaliser of SplitMix64; Steele et al. 2014.)
func mix(h, v uint64) uint64 {
	h = (h ^ v) + 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// uniform returns a number in [0, 1), a multiple of 2⁻⁵³.
func uniform(p *rand.PCG) float64 { return float64(p.Uint64()>>11) * 0x1p-53 }

// gaussian returns two independent numbers of the standard normal distribution, by Marsaglia's
// polar method: it needs no function whose bits differ between processors.
func gaussian(p *rand.PCG) (a, b float64) {
	for {
		u, v := 2*uniform(p)-1, 2*uniform(p)-1
		s := float64(u*u) + float64(v*v)
		if s == 0 || s >= 1 {
			continue
		}
		f := math.Sqrt(-2 * ln(s) / s)
		return u * f, v * f
	}
}

// gumbel returns a number of the standard Gumbel distribution, −ln(−ln u).
func gumbel(p *rand.PCG) float64 {
	u := (float64(p.Uint64()>>12) + 0.5) * 0x1p-52 // neither 0 nor 1
	return -ln(-ln(u))
}

// Purposes of noise, so that no two draw the same bits.
const (
	noiseDrop uint64 = iota + 1
	noiseTokens
	noiseLogits
	noiseChoice
	noiseSecond
)
