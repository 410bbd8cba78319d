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

// recordSome routes three batches through two layers and returns their decisions, layer by layer,
// and the file.
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
	}
	route, err := rec.Route(RouteKey{Layer: 1, Step: 2, Train: true})
	require.NoError(t, err)
	require.Equal(t, RouteKey{1, 2, 0, true}, route.RouteKey)
	require.Equal(t, []int{0, 4, 4, 6}, route.Groups)
	require.Equal(t, 6, rec.Len())
}

// TestReplayGoesByTheBatch: recomputed forward passes, evaluations in between and another order of
// micro-batches change no route; each batch goes where it went.
func TestReplayGoesByTheBatch(t *testing.T) {
	config := TopK{K: 2}
	var out bytes.Buffer
	to, err := NewRecorder(&out)
	require.NoError(t, err)
	g, err := Record{Router: config, To: to, Layer: 3}.New(Shape{Dim: 4, Experts: 5, Seed: 1})
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	type batch struct {
		x    blas32.General
		b    Batch
		want Assignment
	}
	var batches []batch
	for step := range 3 {
		for micro := range 4 {
			for _, train := range []bool{true, false} {
				x := dense(8, 4, make([]float32, 32))
				for i := range x.Data {
					x.Data[i] = float32(r.NormFloat64())
				}
				b := Batch{Ends: []int{3, 8}, Train: train, Step: step, Micro: micro}
				d, err := g.Route(x, b)
				require.NoError(t, err)
				batches = append(batches, batch{x, b, d.Clone()})
				_, err = g.Route(x, b) // again, as where activations are recomputed
				require.NoError(t, err)
			}
		}
	}
	for i := 1; i < len(batches); i++ {
		require.NotEqual(t, batches[0].want, batches[i].want)
	}
	rec, err := ReadRecording(&out)
	require.NoError(t, err)
	require.Equal(t, len(batches), rec.Len())
	replayed, err := Replay{From: rec, Layer: 3}.New(Shape{Dim: 4, Experts: 5})
	require.NoError(t, err)
	live, err := Replay{From: rec, Layer: 3, Live: &config}.New(Shape{Dim: 4, Experts: 5, Seed: 1})
	require.NoError(t, err)
	for range 200 {
		b := batches[r.IntN(len(batches))]
		for _, g := range []Gate{replayed, live} {
			d, err := g.Route(b.x, b.b)
			require.NoError(t, err)
			requireSame(t, b.want, d.Assignment)
		}
	}
	b := batches[0]
	b.b.Micro = 4
	_, err = live.Route(b.x, b.b)
	require.ErrorContains(t, err, "layer 3, step 0, micro-batch 4 in training was not recorded")
	b.b.Micro, b.b.Step, b.b.Train = 1, 9, false
	_, err = replayed.Route(b.x, b.b)
	require.ErrorContains(t, err, "layer 3, step 9, micro-batch 1 in evaluation was not recorded")
}

// TestEvaluationBesideReplay: where training alone was recorded, a live gate evaluates by itself,
// and what is replayed after it is as before; recorded weights have nothing to evaluate by.
func TestEvaluationBesideReplay(t *testing.T) {
	config := TopK{K: 2, Score: Sigmoid, Bias: []float32{0, 2, 0, -1, 0}}
	var out bytes.Buffer
	to, err := NewRecorder(&out)
	require.NoError(t, err)
	shape := Shape{Dim: 4, Experts: 5, Seed: 1}
	g, err := Record{Router: config, To: to}.New(shape)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	x, held := dense(6, 4, make([]float32, 24)), dense(9, 4, make([]float32, 36))
	for _, data := range [][]float32{x.Data, held.Data} {
		for i := range data {
			data[i] = float32(r.NormFloat64())
		}
	}
	train, evaluate := Batch{Ends: []int{6}, Train: true}, Batch{Ends: []int{9}}
	d, err := g.Route(x, train)
	require.NoError(t, err)
	want := d.Clone()
	plain, err := config.New(shape)
	require.NoError(t, err)
	d, err = plain.Route(held, evaluate)
	require.NoError(t, err)
	wantHeld := d.Clone()

	rec, err := ReadRecording(&out)
	require.NoError(t, err)
	live, err := Replay{From: rec, Live: &config}.New(shape)
	require.NoError(t, err)
	for range 3 {
		d, err := live.Route(held, evaluate)
		require.NoError(t, err)
		requireSame(t, wantHeld, d.Assignment)
		d, err = live.Route(x, train)
		require.NoError(t, err)
		requireSame(t, want, d.Assignment)
	}
	fixed, err := Replay{From: rec}.New(shape)
	require.NoError(t, err)
	_, err = fixed.Route(held, evaluate)
	require.ErrorContains(t, err, "layer 0, step 0, micro-batch 0 in evaluation was not recorded")
}

// TestRecordingOneBatchTwice: the same routes are fine, and written once; others are an error that
// names the batch, after which recording goes on.
func TestRecordingOneBatchTwice(t *testing.T) {
	var out bytes.Buffer
	to, err := NewRecorder(&out)
	require.NoError(t, err)
	g, err := Record{Router: TopK{K: 1}, To: to, Layer: 2}.New(Shape{Dim: 3, Experts: 3, Seed: 1})
	require.NoError(t, err)
	x, b := identity(3), Batch{Ends: []int{3}, Step: 7, Micro: 1, Train: true}
	for range 2 {
		_, err := g.Route(x, b)
		require.NoError(t, err)
	}
	_, err = g.Route(dense(3, 3, []float32{9, -9, 2, 8, 1, -7, 0, 0, 1}), b)
	require.ErrorContains(t, err, "layer 2, step 7, micro-batch 1 in training: it has been recorded with other routes")
	b.Micro = -1
	_, err = g.Route(x, b)
	require.ErrorContains(t, err, "micro-batch -1")
	for step := range 3 * keptSteps { // what is remembered of old steps does not grow
		b.Step, b.Micro = 8+step, 1
		_, err := g.Route(x, b)
		require.NoError(t, err)
	}
	require.NoError(t, to.Err())
	require.LessOrEqual(t, len(to.layers[2].sums), keptSteps)
	rec, err := ReadRecording(&out)
	require.NoError(t, err)
	require.Equal(t, 1+3*keptSteps, rec.Len())
}

// TestRecordedConsultationsTwice: other routes of a batch that ranks have consulted on are told
// before the next one.
func TestRecordedConsultationsTwice(t *testing.T) {
	to, err := NewRecorder(io.Discard)
	require.NoError(t, err)
	g, err := Record{Router: ExpertChoice{Over: WholeBatch}, To: to}.New(Shape{Dim: 3, Experts: 3, Seed: 1})
	require.NoError(t, err)
	consult := func(x blas32.General, micro int) error {
		_, err := alone(g.(Consulting).Consult(x, Batch{Ends: []int{3}, Micro: micro}, Share{Count: 1}))
		return err
	}
	other := dense(3, 3, []float32{9, -9, 2, 8, 1, -7, 0, 0, 1})
	require.NoError(t, consult(identity(3), 0))
	require.NoError(t, consult(identity(3), 0))
	require.NoError(t, consult(other, 0), "there is no way to say so before the next batch")
	require.ErrorContains(t, consult(other, 1), "it has been recorded with other routes")
	require.NoError(t, consult(other, 1))
}

// TestFilesWithOneBatchTwice: equal records are one; others are an error that names both.
func TestFilesWithOneBatchTwice(t *testing.T) {
	_, _, _, file := recordSome(t, TopK{K: 2})
	in, err := NewRouteReader(bytes.NewReader(file))
	require.NoError(t, err)
	first, err := in.Next()
	require.NoError(t, err)
	twice := first.append(bytes.Clone(file))
	rec, err := OpenRecording(bytes.NewReader(twice))
	require.NoError(t, err)
	require.Equal(t, 6, rec.Len())
	first.Weight[0] /= 2
	_, err = OpenRecording(bytes.NewReader(first.append(bytes.Clone(file))))
	require.ErrorContains(t, err, "routes 0 and 6 of a file are both of layer 0, step 0, micro-batch 0 in training, and differ")
}

// TestAFileThatChanges while it is replayed is an error that names the batch.
func TestAFileThatChanges(t *testing.T) {
	_, batches, xs, file := recordSome(t, TopK{K: 2})
	rec, err := OpenRecording(bytes.NewReader(file))
	require.NoError(t, err)
	g, err := Replay{From: rec}.New(Shape{Dim: 4, Experts: 5})
	require.NoError(t, err)
	file[12+recordHead+8+20+20+1] ^= 4 // a token
	_, err = g.Route(xs[0], batches[0])
	require.ErrorContains(t, err, "layer 0, step 0, micro-batch 0 in training, route 0 of a file that has changed")
	_, err = g.Route(xs[2], batches[2])
	require.NoError(t, err)
}

// TestReplayHoldsNoRoutes: a recording that stays in its file takes memory by the number of
// batches, not of tokens.
func TestReplayHoldsNoRoutes(t *testing.T) {
	const batches, tokens = 200, 2000
	file := recordingOf(t, batches, tokens)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	rec, err := OpenRecording(bytes.NewReader(file))
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(len(file)/8))
	require.Equal(t, batches, rec.Len())
	runtime.KeepAlive(file)
}

// recordingOf is a file of batches of one layer, each of which sends each token to one expert.
func recordingOf(t *testing.T, batches, tokens int) []byte {
	b := append([]byte(recordingMagic), recordingVersion, 0, 0, 0)
	r := RecordedRoute{Groups: []int{tokens}, Counts: []int{tokens}}
	r.Tokens, r.Experts, r.Ends = tokens, 1, []int{tokens}
	for i := range tokens {
		r.Token, r.Weight = append(r.Token, int32(i)), append(r.Weight, 1)
	}
	for step := range batches {
		r.Step = step
		b = r.append(b)
	}
	return b
}

// TestLiveReplay expects recorded experts with a live gate's weights: those of the same gate are
// the same, and its gradients too.
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
	for _, b := range []Batch{{Ends: []int{9}, Train: true}, {Ends: []int{3, 8, 9}, Train: true}} {
		_, err = g.Route(xs[0], b)
		require.ErrorContains(t, err, "layer 0, step 0, micro-batch 0 in training was recorded with 9 tokens in 2 groups")
	}
	padding := make([]bool, 9)
	padding[4] = true
	_, err = g.Route(xs[0], Batch{Ends: []int{3, 9}, Train: true, Padding: padding})
	require.ErrorContains(t, err, "token 4 of layer 0, step 0, micro-batch 0 in training was recorded, and now is padding")
	_, err = g.Route(xs[0], Batch{Ends: []int{3, 9}, Train: true})
	require.NoError(t, err)

	_, err = Replay{From: rec}.New(Shape{Dim: 4, Experts: 6})
	require.ErrorContains(t, err, "layer 0 was recorded with 5 experts, and now has 6")
	_, err = Replay{Live: &TopK{}}.New(Shape{Dim: 4, Experts: 6})
	require.ErrorContains(t, err, "without a Recording")
	_, err = Record{Router: SoftMoE{Slots: 1}, Layer: -1}.New(Shape{Dim: 4, Experts: 6})
	for _, says := range []string{"without a Recorder", "layer -1", "SoftMoE mixes tokens"} {
		require.ErrorContains(t, err, says)
	}
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
	route, err := rec.Route(RouteKey{Layer: 4})
	require.NoError(t, err)
	require.Equal(t, d.Clone(), route.Assignment)
}
