package pipeline

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

const (
	dim     = 6
	tokens  = 12
	hosted  = 4
	perGate = tokens / hosted // rows of each expert
)

func random(seed uint64) blas32.General {
	r := rand.New(rand.NewPCG(seed, 3))
	m := mat.Resize(blas32.General{}, tokens, dim)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// outcome is what a pass gives: the experts' answers and those of the shared expert, and the
// gradients of the rows by either way.
type outcome struct{ answers, shared, drows, dx []float32 }

// countingLock counts how often it was taken.
type countingLock struct {
	sync.Mutex
	n int
}

func (l *countingLock) Lock() {
	l.Mutex.Lock()
	l.n++
}

// pathOf builds the path of a rank that hosts all experts, and its exchange. computed counts what
// runs in turn with other micro-batches.
func pathOf(t *testing.T, chunks int, computed *countingLock) (*Path, *alltoall.Exchange) {
	t.Helper()
	world := inproc.New(1)
	t.Cleanup(func() { require.NoError(t, world[0].Close()) })
	exchange, err := alltoall.New(world[0], alltoall.Config{Placement: alltoall.Even(hosted, 1), Dim: dim})
	require.NoError(t, err)
	own, err := experts.New(experts.Config{
		Expert: expert.SwiGLU{Hidden: 5}, Shared: expert.SwiGLU{Hidden: 3}, Total: hosted,
		Shape: expert.Shape{Dim: dim, Count: hosted, Seed: 7}, Chunks: chunks,
	})
	require.NoError(t, err)
	return &Path{
		Stage:   newStage(Config{Most: chunks, SplitBackward: own.Splits()}),
		Experts: own, Checks: passcheck.New(passcheck.Config{}),
		Turn: &lifecycle.Turn{Lock: computed},
	}, exchange
}

// runPass takes rows to the experts and back, and their gradients.
func runPass(t *testing.T, chunks int) (o outcome) {
	t.Helper()
	var computed countingLock
	path, exchange := pathOf(t, chunks, &computed)
	x, dy := random(1), random(2)
	own, err := batch.New(batch.Shape{Dim: dim, Experts: hosted, Train: true}, &batch.Pool{}, x, router.Batch{})
	require.NoError(t, err)
	global := &batch.Global{Tokens: []int{tokens}, Leaves: []int{1}}
	p := &Pass{}
	p.Handle, err = exchange.Begin(t.Context(), alltoall.Request{
		Counts: alltoall.Counts{Tokens: tokens, Leaves: 1, Rows: slices.Repeat([]int{perGate}, hosted)},
		Rows:   x, Cut: path.Cut(kind(schedule.Forward)),
	})
	require.NoError(t, err)
	defer p.Handle.Release()
	answers, err := path.Forward(t.Context(), p, &own, global)
	require.NoError(t, err)
	o.answers = slices.Clone(answers.Data)
	y := mat.Resize(blas32.General{}, tokens, dim)
	p.Shared.AddTo(mat.Zero(y))
	o.shared = slices.Clone(y.Data)
	drows, err := path.Backward(t.Context(), p, dy, dy)
	require.NoError(t, err)
	o.drows = slices.Clone(drows.Data)
	p.Shared.AddGradientTo(mat.Zero(y))
	o.dx = slices.Clone(y.Data)
	require.False(t, p.Fault.Found())
	require.EqualValues(t, 2+3*chunks, computed.n, "the shared expert twice; each chunk forward, backward, and its weights")
	return o
}

// TestPathHasTheSameBitsInChunks: answers and gradients do not depend on the number of chunks.
func TestPathHasTheSameBitsInChunks(t *testing.T) {
	want := runPass(t, 1)
	for _, part := range [][]float32{want.answers, want.shared, want.drows, want.dx} {
		require.Len(t, part, tokens*dim)
		require.NotEqual(t, make([]float32, tokens*dim), part)
	}
	for _, chunks := range []int{2, 3, 4} {
		require.Equal(t, want, runPass(t, chunks), "%d chunks", chunks)
	}
}

// TestPathEndsWithItsContext returns the error of the exchange.
func TestPathEndsWithItsContext(t *testing.T) {
	var computed countingLock
	path, exchange := pathOf(t, 2, &computed)
	x := random(1)
	p := &Pass{}
	var err error
	p.Handle, err = exchange.Begin(t.Context(), alltoall.Request{
		Counts: alltoall.Counts{Tokens: tokens, Leaves: 1, Rows: slices.Repeat([]int{perGate}, hosted)},
		Rows:   x, Cut: path.Cut(kind(schedule.Forward)),
	})
	require.NoError(t, err)
	defer p.Handle.Release()
	own, err := batch.New(batch.Shape{Dim: dim, Experts: hosted, Train: true}, &batch.Pool{}, x, router.Batch{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeoutCause(t.Context(), -time.Second, errBroken)
	defer cancel()
	_, err = path.Forward(ctx, p, &own, &batch.Global{Tokens: []int{tokens}, Leaves: []int{1}})
	require.ErrorIs(t, err, errBroken)
	require.Zero(t, computed.n)
}
