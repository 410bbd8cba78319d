package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/schedule"
)

func TestExchangeFlags(t *testing.T) {
	o, err := parse(nil, new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, switchyard.Compression{}, o.compression())
	require.Equal(t, alltoall.Direct, o.exchangeAlgorithm())
	require.Equal(t, alltoall.Float32, o.sumsFormat())

	o, err = parse([]string{"-compress", "0.4", "-compensation", "interpolate", "-refine", "-1", "-bandwidth", "3", "-ridge", "0.03", "-algorithm", "rails", "-node-ranks", "2"}, new(bytes.Buffer))
	require.NoError(t, err)
	c := o.compression()
	require.Equal(t, switchyard.CompressAlways, c.When)
	require.Equal(t, alltoall.NVFP4H, c.Gradients)
	require.False(t, c.ClusterGradients)
	require.Equal(t, lsh.Config{Rate: 0.4, Compensation: lsh.Interpolate, Refine: -1, Bandwidth: 3, Ridge: 0.03, Seed: o.seed}, c.LSH)
	require.Equal(t, alltoall.Rails, o.exchangeAlgorithm())

	o, err = parse([]string{"-compress", "0.2", "-hash", "hyperplane", "-compress-auto", "-wire", "bf16", "-sums", "nvfp4-h", "-overlap", "2", "-overlap-auto", "-gradient-piece", "4096", "-transport", "inproc", "-link", "100"}, new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, switchyard.CompressAuto, o.compression().When)
	require.Equal(t, lsh.Hyperplane, o.compression().LSH.Family)
	require.Equal(t, alltoall.Everywhere(alltoall.BF16), o.wireFormat())
	require.Equal(t, alltoall.NVFP4H, o.layerConfig(1).Sums)
	require.Equal(t, switchyard.Overlap{Degree: 2, Auto: true, GradientPiece: 4096}, o.layerConfig(1).Overlap)
	o, err = parse([]string{"-wire", "mxfp4-h", "-wire-back", "nvfp4-h"}, new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, alltoall.Wire{
		Dispatch: alltoall.MXFP4H, Combine: alltoall.MXFP4H, DispatchBack: alltoall.NVFP4H, CombineBack: alltoall.NVFP4H,
	}, o.wireFormat())
	o, err = parse([]string{"-wire", "mxfp4-h", "-wire-back", "int4-h-stochastic", "-seed", "7"}, new(bytes.Buffer))
	require.NoError(t, err)
	random := alltoall.Stochastic{Format: alltoall.Int4H, Seed: 7}
	require.Equal(t, alltoall.Wire{
		Dispatch: alltoall.MXFP4H, Combine: alltoall.MXFP4H, DispatchBack: random, CombineBack: random,
	}, o.wireFormat())
	o, err = parse([]string{"-compress-auto", "-budget", "0.1", "-node-ranks", "2"}, new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, switchyard.CompressAuto, o.compression().When)
	require.InDelta(t, 0.1, o.compression().Budget, 0)
	require.Zero(t, o.compression().LSH.Rate, "any")
	require.Equal(t, alltoall.Wire{}, o.wireFormat(), "layers choose")
	require.True(t, o.lossy())
	for name, want := range map[string]alltoall.Codec{"clusters": nil, "bf16": alltoall.BF16} {
		o, err = parse([]string{"-compress", "0.2", "-compress-gradients", name}, new(bytes.Buffer))
		require.NoError(t, err)
		require.Equal(t, want, o.compression().Gradients)
		require.Equal(t, want == nil, o.compression().ClusterGradients)
	}
	_, err = parse([]string{"-transport", "tcp", "-link", "100"}, new(bytes.Buffer))
	require.ErrorContains(t, err, "-link 100: goes with -transport inproc alone")

	_, err = parse([]string{"-compress", "1.5", "-compensation", "magic", "-algorithm", "auto"}, new(bytes.Buffer))
	for _, flag := range []string{"-compress", "-compensation", "-algorithm"} {
		require.ErrorContains(t, err, flag)
	}
}

// TestAnnealedRates reach the rate of -compress-anneal in the last step that is compressed.
func TestAnnealedRates(t *testing.T) {
	for line, want := range map[string]lsh.Rates{
		"":                    {{Step: 0, Rate: 0.1}, {Step: 99, Rate: 0.4}},
		"-compress-from 20":   {{Step: 20, Rate: 0.1}, {Step: 99, Rate: 0.4}},
		"-compress-until 80":  {{Step: 0, Rate: 0.1}, {Step: 79, Rate: 0.4}},
		"-compress-until 800": {{Step: 0, Rate: 0.1}, {Step: 99, Rate: 0.4}},
		"-compress-from 200":  {{Step: 200, Rate: 0.1}, {Step: 201, Rate: 0.4}},
	} {
		flags := append([]string{"-compress", "0.1", "-compress-anneal", "0.4", "-steps", "100", "-compress-max-error", "0.3"}, strings.Fields(line)...)
		o, err := parse(flags, new(bytes.Buffer))
		require.NoError(t, err)
		require.Equal(t, want, o.compression().Rates, line)
		require.Zero(t, o.compression().LSH.Rate)
		require.Equal(t, 0.3, o.compression().MaxError)
		require.NoError(t, o.compression().Rates.Validate())
	}
	for _, line := range []string{"", "-compress 0.1 -hash random"} {
		_, err := parse(append(strings.Fields(line), "-compress-anneal", "0.4"), new(bytes.Buffer))
		require.ErrorContains(t, err, "-compress-anneal 0.4: goes with -compress above 0", line)
	}
}

// TestRandomClusters are as many as the rate says, within each expert's rows.
func TestRandomClusters(t *testing.T) {
	c := randomClusters(0.2, rand.NewPCG(1, 1))(blas32.General{}, []int{10, 10, 13})
	require.Equal(t, []int{10, 10, 13}, c.RowEnds)
	require.Equal(t, []int{2, 2, 3}, c.CentroidEnds)
}

// traceEvent is what a trace has of a task or an arrow.
type traceEvent struct {
	Name   string `json:"name"`
	Rank   int    `json:"pid"`
	Thread int    `json:"tid"`
}

func traceIn(t *testing.T, file string) []traceEvent {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var events struct {
		TraceEvents []traceEvent `json:"traceEvents"`
	}
	require.NoError(t, json.Unmarshal(data, &events))
	return events.TraceEvents
}

// TestTraceHasBothMicroBatches, each with rows of its own, on both ranks.
func TestTraceHasBothMicroBatches(t *testing.T) {
	clearLauncher(t)
	trace := t.TempDir() + "/trace.json"
	trainTiny(t, "-ranks", "2", "-text", short(t), "-micro", "2", "-trace", trace)
	seen := map[[2]int]int{}
	for _, e := range traceIn(t, trace) {
		if strings.HasPrefix(e.Name, "expert") {
			seen[[2]int{e.Rank, e.Thread / schedule.Resources}]++
		}
	}
	require.Len(t, seen, 4, "ranks and micro-batches")
	for at, n := range seen {
		require.Equal(t, seen[[2]int{0, 0}], n, "%v", at)
	}
}

// TestWhatMovesRowsKeepsTheBits: overlap and a simulated link change no parameter, and both leave
// their marks elsewhere.
func TestWhatMovesRowsKeepsTheBits(t *testing.T) {
	clearLauncher(t)
	text, trace := short(t), t.TempDir()+"/trace.json"
	_, want := trainTiny(t, "-ranks", "2", "-text", text)
	_, got := trainTiny(t, "-ranks", "2", "-text", text, "-overlap", "2", "-link", "1000", "-gradient-piece", "512", "-trace", trace)
	require.Equal(t, want.ParamSHA256, got.ParamSHA256)
	require.NotEmpty(t, got.Course)
	require.Positive(t, got.ExchangeShare)
	seen := map[int]bool{}
	sent := false
	for _, e := range traceIn(t, trace) {
		seen[e.Rank] = seen[e.Rank] || strings.HasPrefix(e.Name, "combine")
		sent = sent || e.Name == "sent"
	}
	require.Equal(t, map[int]bool{0: true, 1: true}, seen)
	require.True(t, sent, "arrows from rank to rank")
	_, silent := trainTiny(t, "-ranks", "2", "-text", text, "-no-experts")
	require.NotEqual(t, want.ParamSHA256, silent.ParamSHA256)
}
