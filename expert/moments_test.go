package expert_test

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/moments"
	"github.com/switchyard-moe/switchyard/param"
)

var fewBits = []expert.Moments{expert.FP8Moments, expert.Int4Moments}

// adamWith keeps moments in some form.
func adamWith(m expert.Moments) *expert.Adam {
	a := expert.NewAdam(0.01)
	a.Beta2, a.WeightDecay, a.Moments = 0.99, 0.1, m
	return a
}

// gradient draws one whose elements have scales of their own over four decimal orders.
func gradient(r *rand.Rand, n int) []float32 {
	g := make([]float32, n)
	for i := range g {
		g[i] = float32(r.NormFloat64() * math.Pow(10, -float64(i%9)/2))
	}
	return g
}

// formatsOf are those of the two moments.
func formatsOf(m expert.Moments) [2]moments.Format {
	if m == expert.Int4Moments {
		return [2]moments.Format{moments.Int4, moments.Log4}
	}
	return [2]moments.Format{moments.FP8, moments.FP8}
}

// decoded are the numbers of moments of a set of one tensor.
func decoded(of expert.Moments, s expert.State, n int) [2][]float32 {
	var list [2][]float32
	for i, f := range formatsOf(of) {
		list[i] = make([]float32, n)
		f.Decode(list[i], s.Moments[i].Codes)
	}
	return list
}

// hashOf is what the rounding of a tensor goes by.
func hashOf(tensor string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(tensor))
	return h.Sum64()
}

// TestUpdateOfMomentsInFewBits is that of float32 moments with the numbers that the codes stand
// for, which are written again afterwards.
func TestUpdateOfMomentsInFewBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 300
	for _, m := range fewBits {
		p, q := vector(gradient(r, n)...), vector(make([]float32, n)...)
		few, plain := adamWith(m), adamWith(expert.Float32Moments)
		for step := range 20 {
			copy(q.Value, p.Value)
			state, of := few.State(p), plain.State(q)
			for i, data := range decoded(m, state, n) {
				copy(of.Moments[i].Data, data)
			}
			grad := gradient(r, n)
			few.Update(p, grad)
			plain.Update(q, grad)
			require.Equal(t, q.Value, p.Value, "%v", m)
			require.Equal(t, *of.Scalars[1].Value, *few.State(p).Scalars[1].Value)
			kept := few.State(p)
			first, second := make([]byte, len(kept.Moments[0].Codes)), []byte{}
			formatsOf(m)[0].Encode(first, of.Moments[0].Data)
			require.Equal(t, first, kept.Moments[0].Codes, "%v", m)
			v, of2 := of.Moments[1].Data, formatsOf(m)[1]
			for at := 0; at < n; at += moments.Block {
				block := v[at:min(at+moments.Block, n)]
				codes := make([]byte, of2.Bytes(len(block)))
				of2.EncodeStochastic(codes, block, hashOf("v")+uint64(at/moments.Block)+math.Float64bits(float64(step+1)))
				second = append(second, codes...)
			}
			require.Equal(t, second, kept.Moments[1].Codes, "%v", m)
		}
	}
}

func largest(x []float32) (most float32) {
	for _, v := range x {
		most = max(most, v, -v)
	}
	return most
}

// TestBlocksAreOfOneExpert: experts in one set have the bits of each in a set of its own.
func TestBlocksAreOfOneExpert(t *testing.T) {
	const count = 3
	tensors := func(n int) []param.Tensor {
		return []param.Tensor{{Name: "w", Shape: []int{n, 5, 30}}, {Name: "b", Shape: []int{n, 7}}}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, m := range fewBits {
		of := func(n int) *param.Set {
			p := param.NewSet(tensors(n)...)
			p.Kind = param.Expert
			return p
		}
		all, one := of(count), []*param.Set{of(1), of(1), of(1)}
		a := adamWith(m)
		for range 5 {
			grad := gradient(r, len(all.Value))
			a.Update(all, grad)
			for j, p := range one {
				w, b := all.Of(grad, 0), all.Of(grad, 1)
				a.Update(p, append(append([]float32{}, w[j*150:(j+1)*150]...), b[j*7:(j+1)*7]...))
				require.Equal(t, p.Of(p.Value, 0), all.Of(all.Value, 0)[j*150:(j+1)*150], "%v", m)
				require.Equal(t, p.Of(p.Value, 1), all.Of(all.Value, 1)[j*7:(j+1)*7], "%v", m)
			}
		}
	}
}

// TestUpdatesStaySmall: where gradients of very different sizes share a block, the second moments
// of small ones do not become 0, which would make updates of millions.
func TestUpdatesStaySmall(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, m := range fewBits {
		p, a := vector(make([]float32, 512)...), adamWith(m)
		for step := range 100 {
			grad := gradient(r, 512)
			for i := range grad {
				grad[i] *= float32(math.Exp(-float64(i)/10) + 1e-12)
			}
			before := append([]float32{}, p.Value...)
			a.Update(p, grad)
			for i, v := range p.Value {
				require.LessOrEqual(t, math.Abs(float64(v-before[i])), 0.01*12, "%v: element %d, step %d", m, i, step)
			}
		}
	}
}

// TestZeroGradientsMoveNothing: zeros stay zeros, in a block of them and among others.
func TestZeroGradientsMoveNothing(t *testing.T) {
	for _, m := range fewBits {
		p, a := vector(make([]float32, 256)...), adamWith(m)
		grad := make([]float32, 256)
		grad[3] = 1
		for range 4 {
			a.Update(p, grad)
		}
		for i, v := range p.Value {
			require.Equal(t, i == 3, v != 0, "%v: element %d is %v", m, i, v)
		}
		codes := a.State(p).Moments[0].Codes
		require.Equal(t, make([]byte, len(codes)/2), codes[len(codes)/2:], "%v", m)
	}
}

// TestNotANumberSpreads over its block, no further.
func TestNotANumberSpreads(t *testing.T) {
	for _, m := range fewBits {
		p, a := vector(make([]float32, 256)...), adamWith(m)
		grad := make([]float32, 256)
		grad[130] = float32(math.NaN())
		a.Update(p, grad)
		a.Update(p, make([]float32, 256))
		for i, v := range p.Value {
			require.Equal(t, i >= 128, v != v, "%v: element %d is %v", m, i, v)
		}
	}
}

// TestMomentsMayBeChanged: a state of float32 goes on in fewer bits and back.
func TestMomentsMayBeChanged(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, m := range fewBits {
		p, a := vector(gradient(r, 200)...), adamWith(expert.Float32Moments)
		a.Update(p, gradient(r, 200))
		before := append([]float32{}, a.State(p).Moments[0].Data...)
		a.Moments = m
		want := decoded(m, a.State(p), 200)
		a.Moments = expert.Float32Moments
		state := a.State(p)
		require.Equal(t, want[0], state.Moments[0].Data)
		require.Equal(t, want[1], state.Moments[1].Data)
		for i, v := range before {
			require.InDelta(t, v, want[0][i], 0.2*float64(largest(before)))
		}
		require.Equal(t, "m", state.Moments[0].Name)
		a.Update(p, gradient(r, 200))
		s := &expert.SGD{LR: 0.1, Momentum: 0.9}
		s.Update(p, gradient(r, 200))
		s.Moments = m
		require.Equal(t, fmt.Sprintf("v.%v", m), s.State(p).Moments[0].Name)
		s.Update(p, gradient(r, 200))
	}
}

// TestMomentsAreSmall: what states hold, in bytes a parameter.
func TestMomentsAreSmall(t *testing.T) {
	p := vector(make([]float32, 1<<14)...)
	for m, most := range map[expert.Moments]float64{expert.Float32Moments: 8, expert.FP8Moments: 2.1, expert.Int4Moments: 1.1} {
		held := 0
		for _, one := range adamWith(m).State(p).Moments {
			held += 4*len(one.Data) + len(one.Codes)
		}
		require.LessOrEqual(t, float64(held), most*float64(len(p.Value)), "%v", m)
		require.InDelta(t, 2*m.Bytes(len(p.Value)), held, 0.01*float64(held))
	}
	require.Equal(t, "Adam{LR:0.01 Beta1:0.9 Beta2:0.99 Eps:1e-08 WeightDecay:0.1 Moments:fp8}", adamWith(expert.FP8Moments).String())
	require.Equal(t, "Moments(7)", expert.Moments(7).String())
}

// TestSecondMomentsStayRight: their roots are on average those of float32, however little an update
// changes them. Rounding to nearest would have four bits 2.5 times too small after 1500 updates.
func TestSecondMomentsStayRight(t *testing.T) {
	const n, updates = 256, 600
	for m, most := range map[expert.Moments][2]float64{expert.FP8Moments: {0.05, 0.4}, expert.Int4Moments: {0.4, 0.9}} {
		r := rand.New(rand.NewPCG(9, 10))
		p, q := vector(make([]float32, n)...), vector(make([]float32, n)...)
		few, plain := adamWith(m), adamWith(expert.Float32Moments)
		few.Beta2, plain.Beta2 = 0.999, 0.999
		for range updates {
			grad := gradient(r, n)
			few.Update(p, grad)
			plain.Update(q, grad)
		}
		exact, sum, squares := plain.State(q).Moments[1].Data, 0.0, 0.0
		for i, v := range decoded(m, few.State(p), n)[1] {
			octaves := math.Log2(float64(v/exact[i])) / 2
			sum, squares = sum+octaves/n, squares+octaves*octaves/n
		}
		require.Less(t, math.Abs(sum), most[0], "%v: mean of octaves", m)
		require.Less(t, math.Sqrt(squares), most[1], "%v: root of the mean square of octaves", m)
	}
}

// TestVelocityInFewBits is that of float32 with the numbers that the codes stand for, which are
// written again afterwards.
func TestVelocityInFewBits(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	const n = 200
	for _, m := range fewBits {
		p, q := vector(gradient(r, n)...), vector(make([]float32, n)...)
		few, plain := &expert.SGD{LR: 0.1, Momentum: 0.9, WeightDecay: 0.1, Moments: m}, &expert.SGD{LR: 0.1, Momentum: 0.9, WeightDecay: 0.1}
		for range 5 {
			copy(q.Value, p.Value)
			v := plain.State(q).Moments[0].Data
			formatsOf(m)[0].Decode(v, few.State(p).Moments[0].Codes)
			grad := gradient(r, n)
			few.Update(p, grad)
			plain.Update(q, grad)
			require.Equal(t, q.Value, p.Value, "%v", m)
			codes := few.State(p).Moments[0].Codes
			want := make([]byte, len(codes))
			formatsOf(m)[0].Encode(want, v)
			require.Equal(t, want, codes, "%v", m)
		}
	}
}
