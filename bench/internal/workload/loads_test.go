package workload

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// counts are the rows of each expert in some steps of all ranks.
func counts(t *testing.T, l *Load, steps, tokens int) []int {
	t.Helper()
	all := make([]int, l.Experts)
	for step := range steps {
		for rank := range l.Ranks {
			d := l.Decide(rank, step, tokens)
			require.NoError(t, d.Validate())
			require.Equal(t, tokens*l.K, len(d.Token), "every token has K experts")
			require.Equal(t, d, l.Decide(rank, step, tokens), "the same again")
			for e, n := range d.Counts {
				all[e] += n
			}
		}
	}
	return all
}

func TestLoads(t *testing.T) {
	const tokens, ranks, k = 480, 4, 2
	load := func(name string) []int {
		l := &Load{Name: name, Experts: 16, K: k, Ranks: ranks}
		require.NoError(t, l.Open())
		return counts(t, l, 2, tokens)
	}
	const mean = 2 * tokens * ranks * k / 16
	for _, n := range load("even") {
		require.Equal(t, mean, n)
	}
	hot := load("hot")
	require.Equal(t, 2*tokens*ranks*k/3, hot[0])
	for _, n := range hot[1:] {
		require.InEpsilon(t, float64(2*tokens*ranks*k)*2/3/15, n, 0.02)
	}
	zipf := load("zipf")
	require.Greater(t, zipf[0], zipf[1])
	require.Greater(t, zipf[1], zipf[4])
	require.Greater(t, zipf[4], zipf[15])
}

// TestLognormal: the busiest rank has what was asked for.
func TestLognormal(t *testing.T) {
	for _, skew := range []float64{1.3, 2, 3} {
		l := &Load{Name: "lognormal", Experts: 32, K: 2, Ranks: 8, Skew: skew}
		require.NoError(t, l.Open())
		all, place := counts(t, l, 2, 500), alltoall.Even(32, 8)
		busiest := 0
		for r := range 8 {
			n := 0
			begin, end := place.Of(r)
			for _, rows := range all[begin:end] {
				n += rows
			}
			busiest = max(busiest, n)
		}
		require.InEpsilon(t, skew, float64(busiest)*8/(2*500*8*2), 0.1)
	}
	l := &Load{Name: "lognormal", Experts: 8, K: 2, Ranks: 4, Skew: 5}
	require.ErrorContains(t, l.Open(), "not 5")
}

// TestSkewCountsByHome: the rank of an expert is where an even placement has it.
func TestSkewCountsByHome(t *testing.T) {
	for _, of := range [][2]int{{16, 4}, {7, 3}, {5, 8}, {9, 9}} {
		place := alltoall.Even(of[0], of[1])
		for r := range of[1] {
			begin, end := place.Of(r)
			for e := begin; e < end; e++ {
				require.Equal(t, r, home(e, of[0], of[1]), "%v", of)
			}
		}
	}
}

// writeRecord writes tokens and a gate as -record of examples/train does.
func writeRecord(t *testing.T, about map[string]string, tensors map[string]blas32.General) string {
	t.Helper()
	var list []safetensors.Tensor
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: []int{tensors[name].Rows, tensors[name].Cols}})
	}
	plan, err := safetensors.NewPlan(about, list)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	for _, p := range plan.Tensors() {
		var text []byte
		for _, v := range tensors[p.Name].Data {
			text = binary.LittleEndian.AppendUint32(text, math.Float32bits(v))
		}
		require.NoError(t, w.Write(p.Name, text))
	}
	require.NoError(t, w.Close())
	file := filepath.Join(t.TempDir(), "record")
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
	return file
}

// TestTrace: tokens take the experts that the gate of the record gives them.
func TestTrace(t *testing.T) {
	gate := blas32.General{Rows: 2, Cols: 4, Stride: 4, Data: []float32{1, 2, 3, 4, 0, 0, 9, 0}}
	x := blas32.General{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 0, -1, 0, -1, 1}}
	tensors := map[string]blas32.General{"block1.input": x, "block1.gate.gate": gate, "block3.input": gate}
	l := &Load{Name: "trace", Experts: 4, K: 2, Ranks: 2, Trace: writeRecord(t, map[string]string{"topk": "2"}, tensors)}
	require.NoError(t, l.Open())
	require.Equal(t, []int{1, 1, 1, 1}, l.Decide(0, 0, 2).Counts, "2, 3 and 0, 1")
	require.Equal(t, []int{1, 0, 2, 1}, l.Decide(1, 0, 2).Counts, "0, 2, and from the beginning again")
	l.Experts = 5
	require.ErrorContains(t, l.Open(), "block1 routes tokens of 2 columns to 4 experts, want 2 to 5")
	l.Trace = filepath.Join(t.TempDir(), "none")
	require.ErrorIs(t, l.Open(), os.ErrNotExist)
	l.Trace = writeRecord(t, nil, map[string]blas32.General{"x": x})
	require.ErrorContains(t, l.Open(), "no layer has experts")
	l.Trace = writeRecord(t, map[string]string{"topk": "1"}, map[string]blas32.General{"block1.input": x})
	require.ErrorContains(t, l.Open(), "block1.gate.gate is no matrix")
}

func TestLoadsRefused(t *testing.T) {
	require.ErrorContains(t, (&Load{Name: "odd", Experts: 2, K: 1, Ranks: 1}).Open(), `load "odd": want one of [even zipf hot lognormal trace]`)
	require.ErrorContains(t, (&Load{Name: "even", Experts: 2, K: 3, Ranks: 1}).Open(), "3 experts for each token, of 2")
	require.ErrorContains(t, (&Load{Name: "hot", Experts: 2, K: 2, Ranks: 1}).Open(), "more experts")
}
