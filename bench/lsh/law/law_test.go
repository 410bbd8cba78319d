package law

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestMain fails where a test leaves a goroutine behind.
func TestMain(m *testing.M) { leaktest.Main(m) }

// small is a block of random tokens and a layer of 4 experts.
func small(t *testing.T, tokens int) *block {
	t.Helper()
	const dim = 16
	b := &block{name: "block1", x: random(1, tokens, dim), dy: random(2, tokens, dim), experts: 4, hidden: 8, topK: 2, seed: 1}
	world := switchyard.NewWorld(inproc.New(1)[0])
	defer world.Close()
	layer, err := switchyard.NewLayer(world, switchyard.Config{Dim: dim, Experts: b.experts, Router: router.TopK{K: b.topK}, Expert: expert.FFN{Hidden: b.hidden, Activation: expert.GELU}})
	require.NoError(t, err)
	params, err := layer.Parameters(t.Context())
	require.NoError(t, err)
	for _, p := range params {
		p.Data = append([]float32(nil), p.Data...)
		b.params = append(b.params, p)
	}
	return b
}

func random(seed uint64, rows, cols int) blas32.General {
	r := rand.New(rand.NewPCG(seed, 0))
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols}
	for range rows * cols {
		m.Data = append(m.Data, float32(r.NormFloat64()))
	}
	return m
}

// write writes a block as -record of examples/train does.
func write(t *testing.T, b *block, about map[string]string) string {
	t.Helper()
	data := map[string][]float32{}
	var list []safetensors.Tensor
	for _, p := range append([]switchyard.Tensor{{Name: "input", Shape: []int{b.x.Rows, b.x.Cols}, Data: b.x.Data}, {Name: "gradient", Shape: []int{b.dy.Rows, b.dy.Cols}, Data: b.dy.Data}}, b.params...) {
		list, data[b.name+"."+p.Name] = append(list, safetensors.Tensor{Name: b.name + "." + p.Name, DType: safetensors.F32, Shape: p.Shape}), p.Data
	}
	plan, err := safetensors.NewPlan(about, list)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	for _, p := range plan.Tensors() {
		var text []byte
		for _, v := range data[p.Name] {
			text = binary.LittleEndian.AppendUint32(text, math.Float32bits(v))
		}
		require.NoError(t, w.Write(p.Name, text))
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "record")
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

func TestRecordIsRead(t *testing.T) {
	b := small(t, 32)
	about := map[string]string{"topk": "2", "seed": "1"}
	got, err := readRecord(write(t, b, about))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, b.x, got[0].x)
	require.Equal(t, b.dy, got[0].dy)
	require.Equal(t, [4]int{b.experts, b.hidden, b.topK, b.seed}, [4]int{got[0].experts, got[0].hidden, got[0].topK, got[0].seed})
	require.Len(t, got[0].params, len(b.params))

	_, err = readRecord(write(t, b, nil))
	require.ErrorContains(t, err, "block1")
	short := *b
	short.dy = random(2, 31, 16)
	_, err = readRecord(write(t, &short, about))
	require.ErrorContains(t, err, "32 × 16 tokens and 31 × 16 gradients")
	without := *b
	without.params = nil
	_, err = readRecord(write(t, &without, about))
	require.ErrorContains(t, err, "expert.w1")
	_, err = readRecord(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestGroupsChangeNothingOfFloat32: what is compared with is the same for any number of rows, but
// for the order of sums, and no gradient comes through the gate.
func TestGroupsChangeNothingOfFloat32(t *testing.T) {
	b := small(t, 64)
	want, err := b.run(t.Context(), switchyard.Config{}, 64, 32)
	require.NoError(t, err)
	require.Len(t, want.y, 64*16)
	require.Len(t, want.weights, 2)
	for _, rows := range []int{1, 5, 1000} {
		got, err := b.run(t.Context(), switchyard.Config{}, 64, rows)
		require.NoError(t, err)
		require.Equal(t, want.y, got.y)
		require.Equal(t, want.dx, got.dx)
		require.Less(t, errorOf(got.weights, want.weights), 1e-5)
	}
	// A gradient through the gate would depend on the answers.
	silent := *b
	silent.params = nil
	for _, p := range b.params {
		if p.Name == "expert.b2" {
			p.Data = random(3, len(p.Data), 1).Data
		}
		silent.params = append(silent.params, p)
	}
	got, err := silent.run(t.Context(), switchyard.Config{}, 64, 32)
	require.NoError(t, err)
	require.NotEqual(t, want.y, got.y)
	require.Equal(t, want.dx, got.dx, "another bias of the output changes no gradient of rows through experts")
}

// TestErrorsOfWays are none for float32, and smaller with more bits, rates and rows.
func TestErrorsOfWays(t *testing.T) {
	m := &measurer{block: small(t, 256), least: 256}
	of := func(name string, rate float64, rows int) outcome {
		for _, v := range variants() {
			if v.name == name {
				p := point{v, rate, rows}
				o, ok := m.outcome(p)
				require.True(t, ok)
				require.NoError(t, m.measure(t.Context(), p, &o))
				return o
			}
		}
		require.Fail(t, name)
		return outcome{}
	}
	fp8, nvfp4 := of("fp8", 1, 0), of("nvfp4", 1, 0)
	require.InDelta(t, 0.03, fp8.Output, 0.01)
	require.InDelta(t, 0.12, nvfp4.Output, 0.04)
	require.InDelta(t, 0.14, nvfp4.Values, 0.04)
	there := of("nvfp4-dispatch", 1, 0)
	require.Positive(t, there.Output)
	require.Less(t, there.Output, nvfp4.Output)
	back := of("nvfp4-combine-back", 1, 0)
	require.Zero(t, back.Output)
	require.Zero(t, back.Weights)
	require.Positive(t, back.Values)
	fifth := of("none-refined", 0.2, 64)
	require.Greater(t, fifth.Output, of("none-refined", 0.4, 64).Output)
	require.Greater(t, of("none", 0.2, 64).Output, fifth.Output)
	require.InDelta(t, 0.2, fifth.Bytes, 1e-9)
	few := of("clusters", 0.2, 64)
	require.InDelta(t, of("clusters-all-legs", 0.2, 64).Output, few.Output, 1e-9)
	require.Less(t, few.Values, of("clusters-all-legs", 0.2, 64).Values)
	require.Less(t, of("clusters-float32", 0.2, 64).Values, few.Values)
	require.InDelta(t, (3*0.2*32+2*14+3)/256, few.Bytes, 0.02)
	_, ok := m.outcome(point{rows: 1024})
	require.False(t, ok, "too few tokens")
}

// TestGoesOn: what the file has is not measured again, and can be printed alone.
func TestGoesOn(t *testing.T) {
	record := write(t, small(t, 128), map[string]string{"topk": "2", "seed": "1"})
	file := filepath.Join(t.TempDir(), "errors.json")
	args := []string{"-task", "errors", "-short", "-record", record, "-json", file}
	require.True(t, Asked(args))
	var out, errs bytes.Buffer
	require.Zero(t, Run(t.Context(), args, &out, &errs), "%s", &errs)
	first, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 9, bytes.Count(first, []byte("\n")), "nvfp4, and two of clusters at four rates")
	require.Equal(t, 9, strings.Count(errs.String(), "bench: "))

	half := bytes.Join(bytes.SplitAfter(first, []byte("\n"))[:5], nil)
	require.NoError(t, os.WriteFile(file, half, 0o600))
	errs.Reset()
	require.Zero(t, Run(t.Context(), args, &out, &errs))
	require.Equal(t, 4, strings.Count(errs.String(), "bench: "))
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, first, again)

	out.Reset()
	require.Zero(t, Run(t.Context(), []string{"-task=errors", "-in", file}, &out, &errs))
	require.Contains(t, out.String(), "none-refined")
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	require.Equal(t, harness.Failed, Run(t.Context(), args, &out, &errs))
}

func TestMisuse(t *testing.T) {
	var out bytes.Buffer
	for _, args := range [][]string{{}, {"-record", "x", "-in", "y"}, {"-record", "x", "-rows", "0"}, {"-record", "x", "-rows", "a"}, {"-record", "x", "-tokens", "0"}, {"-record", "x", "-variants", "fp8,magic"}} {
		require.Equal(t, harness.Misused, Run(t.Context(), args, &out, &out), "%v", args)
	}
	require.Zero(t, Run(t.Context(), []string{"-h"}, &out, &out))
	require.False(t, Asked([]string{"-variants", "task", "errors"}))
	require.False(t, Asked([]string{"-task", "lm"}))
	require.True(t, Asked([]string{"-short", "--task=errors"}))
}
