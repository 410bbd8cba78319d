package router

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// recordSome routes three batches through two layers and returns their decisions, layer by layer, and the file.
func recordSome(t testing.TB, config Router) (want [2][]Assignment, batches []Batch, xs []blas32.General, file []byte) {
	var out bytes.Buffer
	to, err := NewRecorder(&out)
	require.NoError(t, err)
	var layers [2]Gate
	for l := range layers {
		layers[l], err = Record{Router: config, To: to, Layer: l}.New(Shape{Dim: 4, Experts: 5, Seed: uint64(l)})
		require.NoError(t, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for step, ends := range [][]int{{3, 9}, {}, {0, 4, 4, 6}} {
		n := 0
		if len(ends) > 0 {
			n = ends[len(ends)-1]
		}
		x := dense(n, 4, make([]float32, 4*n))
		for i := range x.Data {
			x.Data[i] = float32(r.NormFloat64())
		}
		b := Batch{Ends: ends, Train: step%2 == 0, Step: step}
		batches, xs = append(batches, b), append(xs, x)
		for l, g := range layers {
			d, err := g.Route(x, b)
			require.NoError(t, err)
			want[l] = append(want[l], d.Clone())
		}
	}
	return want, batches, xs, out.Bytes()
}

// requireSame compares assignments, of which empty lists may be nil.
func requireSame(t *testing.T, want, got Assignment) {
	require.Equal(t, want.Ends, got.Ends)
	require.Equal(t, [2]int{want.Tokens, want.Experts}, [2]int{got.Tokens, got.Experts})
	require.True(t, slices.Equal(want.Token, got.Token))
	require.True(t, slices.Equal(want.Weight, got.Weight), "%v, %v", want.Weight, got.Weight)
}

func TestRecordAndReplay(t *testing.T) {
	config := TopK{K: 2, CapacityFactor: 0.75, Losses: []Loss{Balance(1)}}
	want, batches, xs, file := recordSome(t, config)
	rec, err := ReadRecording(bytes.NewReader(file))
	require.NoError(t, err)
	for l := range want {
		g, err := Replay{From: rec, Layer: l}.New(Shape{Dim: 4, Experts: 5})
		require.NoError(t, err)
		require.Nil(t, g.Params())
		for i, b := range batches {
			d, err := g.Route(xs[i], b)
			require.NoError(t, err)
			requireSame(t, want[l][i], d.Assignment)
			n := 0
			for _, c := range d.Counts {
				n += c
			}
			require.Equal(t, 2*xs[i].Rows, n)
			require.Equal(t, n-len(d.Token), d.Dropped)
			grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: make([]float32, len(b.Ends)), DX: xs[i]}
			require.NoError(t, g.Backward(d, xs[i], grad))
		}
		_, err = g.Route(xs[0], batches[0])
		require.ErrorContains(t, err, "no more than 3 batches")
	}
	route := rec.Layer(1)[2]
	require.Equal(t, []any{1, 2, true, []int{0, 4, 4, 6}}, []any{route.Layer, route.Step, route.Train, route.Groups})
	require.Empty(t, rec.Layer(2))
}

// TestLiveReplay expects recorded experts with a live gate's weights: those of the same gate are the same, and its
// gradients too.
func TestLiveReplay(t *testing.T) {
	config := TopK{K: 3, Score: Sigmoid, Losses: []Loss{Balance(1), ZLoss(1)}}
	want, batches, xs, file := recordSome(t, config)
	rec, err := ReadRecording(bytes.NewReader(file))
	require.NoError(t, err)
	live, err := Replay{From: rec, Layer: 1, Live: &config}.New(Shape{Dim: 4, Experts: 5, Seed: 1})
	require.NoError(t, err)
	other, err := Replay{From: rec, Layer: 1, Live: &config}.New(Shape{Dim: 4, Experts: 5, Seed: 77})
	require.NoError(t, err)
	same, err := config.New(Shape{Dim: 4, Experts: 5, Seed: 1})
	require.NoError(t, err)
	for i, b := range batches {
		d, err := live.Route(xs[i], b)
		require.NoError(t, err)
		requireSame(t, want[1][i], d.Assignment)
		e, err := same.Route(xs[i], b)
		require.NoError(t, err)
		require.Equal(t, e.GroupLoss, d.GroupLoss)
		o, err := other.Route(xs[i], b)
		require.NoError(t, err)
		require.True(t, slices.Equal(d.Token, o.Token))
		require.Equal(t, d.Ends, o.Ends)
		if len(o.Weight) > 0 {
			require.NotEqual(t, d.Weight, o.Weight)
		}
		grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: make([]float32, len(b.Ends)), FirstLeaf: 4 * i}
		for j := range grad.Weights {
			grad.Weights[j] = float32(j)
		}
		for _, g := range []Gate{live, same} {
			grad.DX = dense(xs[i].Rows, 4, make([]float32, 4*xs[i].Rows))
			require.NoError(t, g.Backward(map[Gate]*Decision{live: d, same: e}[g], xs[i], grad))
		}
	}
	require.Equal(t, same.Params().Grad.Total(), live.Params().Grad.Total())
}

// TestLiveReplayOfDrops expects that what was dropped stays out, and is not counted.
func TestLiveReplayOfDrops(t *testing.T) {
	config := TopK{K: 2, CapacityFactor: 0.75}
	want, batches, xs, file := recordSome(t, config)
	rec, err := ReadRecording(bytes.NewReader(file))
	require.NoError(t, err)
	g, err := Replay{From: rec, Live: &TopK{K: 2}}.New(Shape{Dim: 4, Experts: 5})
	require.NoError(t, err)
	d, err := g.Route(xs[0], batches[0])
	require.NoError(t, err)
	require.Equal(t, want[0][0], d.Clone())
	require.Zero(t, d.Dropped)
	g, err = Replay{From: rec, Live: &TopK{K: 1}}.New(Shape{Dim: 4, Experts: 5})
	require.NoError(t, err)
	_, err = g.Route(xs[0], batches[0])
	require.ErrorContains(t, err, "was recorded with more experts than K = 1")
}

func TestReplayOfAnotherBatch(t *testing.T) {
	_, _, xs, file := recordSome(t, TopK{K: 2})
	rec, err := ReadRecording(bytes.NewReader(file))
	require.NoError(t, err)
	g, err := Replay{From: rec}.New(Shape{Dim: 4, Experts: 5})
	require.NoError(t, err)
	for _, b := range []Batch{{Ends: []int{9}}, {Ends: []int{3, 8, 9}}} {
		_, err = g.Route(xs[0], b)
		require.ErrorContains(t, err, "layer 0: batch 0 was recorded with 9 tokens in 2 groups")
	}
	padding := make([]bool, 9)
	padding[4] = true
	_, err = g.Route(xs[0], Batch{Ends: []int{3, 9}, Padding: padding})
	require.ErrorContains(t, err, "token 4 of batch 0 was recorded, and now is padding")
	_, err = g.Route(xs[0], Batch{Ends: []int{3, 9}})
	require.NoError(t, err, "a refused batch does not count")

	_, err = Replay{From: rec}.New(Shape{Dim: 4, Experts: 6})
	require.ErrorContains(t, err, "batch 0 of layer 0 is of 5 experts, want 6")
	_, err = Replay{Live: &TopK{}}.New(Shape{Dim: 4, Experts: 6})
	require.ErrorContains(t, err, "without a Recording")
	_, err = Record{Router: SoftMoE{Slots: 1}, Layer: -1}.New(Shape{Dim: 4, Experts: 6})
	for _, says := range []string{"without a Recorder", "layer -1", "SoftMoE mixes tokens"} {
		require.ErrorContains(t, err, says)
	}
}

// TestReadingChecks spoils a file in every way that a check is for.
func TestReadingChecks(t *testing.T) {
	_, _, _, file := recordSome(t, TopK{K: 2})
	for says, spoil := range map[string]func(b []byte) []byte{
		"header":                 func(b []byte) []byte { return b[:11] },
		"not a file of routes":   func(b []byte) []byte { b[3] ^= 1; return b },
		"of version 257, want 1": func(b []byte) []byte { b[9] = 1; return b },
		"route 0 of a file: checksum is": func(b []byte) []byte {
			b[12+32+8+20+20+1] ^= 4 // a token
			return b
		},
		"unexpected EOF":   func(b []byte) []byte { return b[:len(b)-1] },
		"train is 2":       func(b []byte) []byte { b[12+16] = 2; return b },
		"are too many":     func(b []byte) []byte { b[12+31] = 0x7f; return b },
		"route 6 of":       func(b []byte) []byte { return append(b, 0) },
		"25165829 experts": func(b []byte) []byte { b[12+7], b[12+6] = 1, 0x80; return b },
	} {
		_, err := ReadRecording(bytes.NewReader(spoil(bytes.Clone(file))))
		require.ErrorContains(t, err, says)
	}
}

// TestLengthsAreNotBelieved expects memory for what is there, not for what is promised.
func TestLengthsAreNotBelieved(t *testing.T) {
	r := RecordedRoute{Groups: []int{1 << 29}, Assignment: Assignment{Tokens: 1 << 29, Experts: 4, Ends: make([]int, 4)}, Counts: make([]int, 4)}
	b := r.append(append([]byte(recordingMagic), 1, 0, 0, 0))
	b[12+28+3] = 0x40 // 2³⁰ entries
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadRecording(bytes.NewReader(b))
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// failing is a writer that has room for some bytes.
type failing struct{ room int }

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestRecordingFails(t *testing.T) {
	_, err := NewRecorder(&failing{11})
	require.ErrorIs(t, err, errFull)
	to, err := NewRecorder(&failing{12})
	require.NoError(t, err)
	require.NoError(t, to.Err())
	g, err := Record{Router: TopK{K: 1}, To: to}.New(Shape{Dim: 2, Experts: 2})
	require.NoError(t, err)
	_, err = g.Route(identity(2), Batch{Ends: []int{2}})
	require.ErrorIs(t, err, errFull)

	to, err = NewRecorder(&failing{12})
	require.NoError(t, err)
	g, err = Record{Router: ExpertChoice{Over: WholeBatch}, To: to}.New(Shape{Dim: 2, Experts: 2})
	require.NoError(t, err)
	d, err := alone(g.(Consulting).Consult(identity(2), Batch{Ends: []int{2}}, Share{Count: 1}))
	require.NoError(t, err, "there is no way to say so before the next batch")
	require.NotEmpty(t, d.Token)
	_, err = alone(g.(Consulting).Consult(identity(2), Batch{Ends: []int{2}}, Share{Count: 1}))
	require.ErrorIs(t, err, errFull)
}

// TestRecordOfConsultations expects the decision of the whole batch in the file.
func TestRecordOfConsultations(t *testing.T) {
	var out bytes.Buffer
	to, err := NewRecorder(&out)
	require.NoError(t, err)
	g, err := Record{Router: ExpertChoice{Over: WholeBatch}, To: to, Layer: 4}.New(Shape{Dim: 3, Experts: 3})
	require.NoError(t, err)
	d, err := alone(g.(Consulting).Consult(identity(3), Batch{Ends: []int{3}}, Share{Count: 1}))
	require.NoError(t, err)
	rec, err := ReadRecording(&out)
	require.NoError(t, err)
	require.Equal(t, d.Clone(), rec.Layer(4)[0].Assignment)
}

// FuzzReadRecording expects an error or a file that says the same when it is written again.
func FuzzReadRecording(f *testing.F) {
	_, _, _, file := recordSome(f, TopK{K: 2, CapacityFactor: 0.5})
	f.Add(file)
	f.Add(file[:12])
	f.Add([]byte(recordingMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := NewRouteReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		to, err := NewRecorder(&out)
		require.NoError(t, err)
		for {
			route, err := in.Next()
			if err != nil {
				require.True(t, err != io.EOF || bytes.Equal(data, out.Bytes()))
				return
			}
			require.NoError(t, to.Write(route))
		}
	})
}
