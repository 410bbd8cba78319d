package gpt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// tinyModel has a Layer in its second block, as the examples do.
func tinyModel(t *testing.T, r *rand.Rand) *Model { return modelOf(t, r, tiny) }

func modelOf(t *testing.T, r *rand.Rand, c Config) *Model {
	t.Helper()
	m, err := New(c, []Layer{nil, &squareLayer{}, nil})
	require.NoError(t, err)
	for _, set := range m.Params() {
		shake(r, set)
	}
	return m
}

func tinyBatch(r *rand.Rand) Batch {
	const leaves, sequences = 2, 2
	n := leaves * sequences * tiny.Seq
	return Batch{Inputs: randomBytes(r, n), Targets: randomBytes(r, n), LeafTokens: n / leaves, GlobalTokens: n}
}

func TestModelGradient(t *testing.T) {
	r := seeded(t)
	testModelGradient(t, r, tinyModel(t, r), tinyBatch(r))
}

// TestMaskedModelGradient is of a model that attends both ways and learns some of its tokens.
func TestMaskedModelGradient(t *testing.T) {
	r := seeded(t)
	c, b := tiny, tinyBatch(r)
	c.Bidirectional = true
	b.Scored, b.GlobalTokens = make([]bool, len(b.Inputs)), 6
	for _, i := range r.Perm(len(b.Inputs))[:6] {
		b.Scored[i] = true
	}
	testModelGradient(t, r, modelOf(t, r, c), b)
}

func testModelGradient(t *testing.T, r *rand.Rand, m *Model, b Batch) {
	t.Helper()
	sums, err := m.Forward(context.Background(), b)
	require.NoError(t, err)
	var sets []refParams
	for _, set := range m.Params() {
		sets = append(sets, refOf(set))
	}
	require.InDelta(t, refModel(m, sets, b), (sums[0]+sums[1])/float64(b.GlobalTokens), 1e-4)

	require.NoError(t, m.Backward(context.Background()))
	for _, p := range sets {
		checkSet(t, r, p, func() float64 { return refModel(m, sets, b) }, p.set.Grad.Total())
	}
}

// TestNames are of the sets, in their order.
func TestNames(t *testing.T) {
	m := tinyModel(t, seeded(t))
	require.Equal(t, []string{
		"embedding", "block0.attention", "block0.ffn", "block1.attention", "block1.moe", "block2.attention", "block2.ffn", "head",
	}, m.Names())
	sets := m.Params()
	require.Len(t, sets, len(m.Names()))
	require.Equal(t, "token", sets[0].Tensors()[0].Name)
	require.Equal(t, "qkv", sets[3].Tensors()[attnQKV].Name)
	require.Len(t, sets[4].Tensors(), 2)
	require.Equal(t, "out", sets[7].Tensors()[2].Name)
}

// A leaf's loss and gradient have the same bits wherever the leaf stands and whatever stands beside
// it.
func TestLeafStandsAlone(t *testing.T) {
	r := seeded(t)
	m, b := tinyModel(t, r), tinyBatch(r)
	want := pass(t, m, b)
	var grads [][]float32
	for _, set := range m.Params() {
		grads = append(grads, slices.Clone(set.Grad.Total()))
		set.Grad.Reset()
	}

	var got []float64
	for i, n := 0, b.LeafTokens; i < b.Leaves(); i++ {
		alone := Batch{
			Inputs: b.Inputs[i*n : (i+1)*n], Targets: b.Targets[i*n : (i+1)*n],
			FirstLeaf: i, LeafTokens: n, GlobalTokens: b.GlobalTokens,
		}
		got = append(got, pass(t, m, alone)...)
	}
	require.Equal(t, want, got)
	for i, set := range m.Params() {
		require.Equal(t, grads[i], set.Grad.Total(), "set %d", i)
	}
}

// pass is a forward and backward pass; it returns the leaves' losses.
func pass(t *testing.T, m *Model, b Batch) []float64 {
	t.Helper()
	sums, err := m.Forward(context.Background(), b)
	require.NoError(t, err)
	sums = slices.Clone(sums)
	require.NoError(t, m.Backward(context.Background()))
	return sums
}

func TestEmptyRankTakesPart(t *testing.T) {
	layer := &squareLayer{}
	m, err := New(tiny, []Layer{layer, nil, layer})
	require.NoError(t, err)
	sums, err := m.Forward(context.Background(), Batch{LeafTokens: tiny.Seq, GlobalTokens: 10})
	require.NoError(t, err)
	require.Empty(t, sums)
	require.NoError(t, m.Backward(context.Background()))
	require.Equal(t, 2, layer.calls)
}

func TestBatchesAreChecked(t *testing.T) {
	r := seeded(t)
	m, b := tinyModel(t, r), tinyBatch(r)
	b.Scored = make([]bool, 3)
	require.PanicsWithValue(t, "gpt: 20 inputs, of which 3 are said to be scored or not", func() { _, _ = m.Forward(t.Context(), b) })
	b.Scored, b.GlobalTokens = nil, 19
	require.PanicsWithValue(t, "gpt: 20 tokens of a global batch of 19", func() { _, _ = m.Forward(t.Context(), b) })
}

func TestBidirectionalModelContinuesNoText(t *testing.T) {
	c := tiny
	c.Bidirectional = true
	m := modelOf(t, seeded(t), c)
	_, err := m.Sample(t.Context(), []byte("x"), 1, Sampling{TopP: 1}, true)
	require.ErrorContains(t, err, "bidirectional")
}

func TestEvaluateIsForward(t *testing.T) {
	r := seeded(t)
	m, b := tinyModel(t, r), tinyBatch(r)
	want, err := m.Forward(context.Background(), b)
	require.NoError(t, err)
	want = slices.Clone(want)
	got, err := m.Evaluate(context.Background(), b)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestStepsDoNotAllocate(t *testing.T) {
	r := seeded(t)
	m, err := New(tiny, make([]Layer, tiny.Layers))
	require.NoError(t, err)
	b := tinyBatch(r)
	step := func() {
		pass(t, m, b)
		for _, set := range m.Params() {
			set.Grad.Reset()
		}
	}
	step()
	require.Less(t, testing.AllocsPerRun(5, step), 200.0, "buffers must be kept from step to step")
}

func TestConfigReportsAllFaults(t *testing.T) {
	err := Config{Dim: 5, Heads: 2, Layers: -1}.Validate()
	require.Error(t, err)
	for _, name := range []string{"Seq", "Layers", "Hidden", "Dim is 5: must be a multiple of Heads, 2"} {
		require.ErrorContains(t, err, name)
	}
	_, err = New(tiny, nil)
	require.ErrorContains(t, err, "0 layers given for 3 blocks")
}

func TestParametersDependOnSeed(t *testing.T) {
	value := func(seed uint64) string {
		c := tiny
		c.Seed = seed
		m, err := New(c, make([]Layer, 3))
		require.NoError(t, err)
		return fmt.Sprint(m.Params()[1].Value)
	}
	require.Equal(t, value(1), value(1))
	require.NotEqual(t, value(1), value(2))
}

var errLayer = errors.New("the layer failed")

type failing struct{ squareLayer }

func (*failing) Forward(context.Context, blas32.General) (blas32.General, error) {
	return blas32.General{}, errLayer
}

func TestLayerErrorNamesBlock(t *testing.T) {
	m, err := New(tiny, []Layer{nil, nil, &failing{}})
	require.NoError(t, err)
	_, err = m.Forward(context.Background(), tinyBatch(seeded(t)))
	require.ErrorIs(t, err, errLayer)
	require.ErrorContains(t, err, "block 2")
}

// TestCopiesAddUp: two models that share parameters and hold every second leaf, at the same time,
// have the losses and the gradients of one that holds all.
func TestCopiesAddUp(t *testing.T) {
	r := seeded(t)
	m, b := tinyModel(t, r), tinyBatch(r)
	want := slices.Clone(pass(t, m, b))
	var grads [][]float32
	for _, set := range m.Params() {
		grads = append(grads, slices.Clone(set.Grad.Total()))
		set.Grad.Reset()
	}
	var mu sync.Mutex
	other, err := m.Copy([]Layer{nil, &squareLayer{}, nil}, func(do func()) {
		mu.Lock()
		defer mu.Unlock()
		do()
	})
	require.NoError(t, err)
	got := make([]float64, 2)
	var wg sync.WaitGroup
	for i, model := range []*Model{m, other} {
		half := Batch{Inputs: b.Inputs[i*b.LeafTokens:][:b.LeafTokens], Targets: b.Targets[i*b.LeafTokens:][:b.LeafTokens],
			FirstLeaf: i, LeafStep: 2, LeafTokens: b.LeafTokens, GlobalTokens: b.GlobalTokens}
		wg.Go(func() {
			sums, err := model.Forward(context.Background(), half)
			if err == nil {
				got[i] = sums[0]
				err = model.Backward(context.Background())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, want, got)
	for i, set := range m.Params() {
		require.Equal(t, grads[i], set.Grad.Total())
	}
	_, err = m.Copy(nil, nil)
	require.Error(t, err)
}
