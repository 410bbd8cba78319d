package switchyard

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// crossingCounter counts the bytes that a rank sends to ranks of the other parity.
type crossingCounter struct {
	transport.Transport
	sent *atomic.Int64
}

func (w crossingCounter) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	if (to-w.Rank())%2 != 0 {
		for _, b := range bufs {
			w.sent.Add(int64(len(b)))
		}
	}
	return w.Transport.Send(ctx, to, tag, bufs...)
}

func crossingWorlds(n int, sent *atomic.Int64) []*World {
	return decorated(n, func(e transport.Transport) transport.Transport { return crossingCounter{e, sent} })
}

// TestReorderedKeepsCopiesOnFastLinks has ranks of one parity near to each other: in their own
// order each copy of the experts is across. Tokens are many, so that what they take is more than
// the sums of gradients between copies.
func TestReorderedKeepsCopiesOnFastLinks(t *testing.T) {
	needExactProducts(t)
	tokens := fewer([]int{1000}, 200)[0] * bitsGroup
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, tokens, bitsDim), randomMatrix(r, tokens, bitsDim)
	cuts := []int{tokens / 5, tokens / 2, tokens / 5 * 4, tokens}
	cost := [][]float64{{0, 9, 1, 9}, {9, 0, 9, 1}, {1, 9, 0, 9}, {9, 1, 9, 0}}
	order := slices.Concat(schedule.GroupRanks(cost, 2)...)
	require.Equal(t, []int{0, 2, 1, 3}, order)
	cfg := layersUnderTest()["drops"]
	cfg.ExpertParallel = 2
	var sent [2]atomic.Int64
	want := trainTwice(t, crossingWorlds(4, &sent[0]), cfg, x, dy, cuts)
	reordered := make([]*World, 4)
	for _, w := range crossingWorlds(4, &sent[1]) {
		n, err := w.Reordered(order)
		require.NoError(t, err)
		require.Equal(t, w.Rank(), transport.Rank(order[n.Rank()]))
		reordered[n.Rank()] = n
	}
	requireSameBits(t, want, trainTwice(t, reordered, cfg, x, dy, cuts))
	require.Less(t, 4*sent[1].Load(), sent[0].Load())
}

// TestReorderedNamesRanksAsTheyJoined in the errors of layers and views.
func TestReorderedNamesRanksAsTheyJoined(t *testing.T) {
	var reordered []*World
	for _, e := range inproc.New(3) {
		w, err := NewWorld(e).Reordered([]int{2, 0, 1})
		require.NoError(t, err)
		if w, err = w.Reordered([]int{1, 0, 2}); err != nil { // once more
			require.NoError(t, err)
		}
		reordered = append(reordered, w)
	}
	require.Equal(t, transport.Rank(0), reordered[0].Rank())
	require.Equal(t, transport.Rank(2), reordered[1].Rank())
	require.Equal(t, transport.Rank(1), reordered[2].Rank())
	cfg := layersUnderTest()["dropless"]
	errs := onRanks(reordered, func(w *World) error {
		cfg := cfg
		if w.Rank() == 2 { // which joined as 1
			cfg.Seed++
		}
		_, err := NewLayer(w, cfg)
		return err
	})
	require.Equal(t, []transport.Rank{1, 0, 1}, culprits(errs), "%v", errors.Join(errs...))
}

func TestReorderedRefusesWhatIsNoOrder(t *testing.T) {
	w := inprocWorlds(1)[0]
	for _, order := range [][]int{{}, {1}, {0, 0}, {-1}} {
		_, err := w.Reordered(order)
		require.ErrorContains(t, err, "Reordered", "%v", order)
	}
	_, err := w.Reordered([]int{0})
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

// TestHostedSameBits puts experts on ranks unevenly.
func TestHostedSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["drops"]
	want := trainTwice(t, inprocWorlds(1), cfg, x, dy, []int{bitsTokens})
	for _, hosted := range [][]int{{4, 0, 1}, {0, 0, 5}, {1, 3, 1}} {
		for _, a := range alltoall.Algorithms() {
			cfg.Hosted, cfg.Algorithm = hosted, a
			requireSameBits(t, want, trainTwice(t, inprocWorlds(3), cfg, x, dy, cutsOf(splits[3][0])))
		}
	}
	for _, bad := range [][]int{{5}, {4, 0, 0}, {6, -1, 0}, {1, 1, 1, 2}} {
		cfg.Hosted = bad
		require.ErrorContains(t, cfg.Validate(3), "Hosted")
	}
}

// TestAWorldWithoutViewsLeft makes no more layers, and says why.
func TestAWorldWithoutViewsLeft(t *testing.T) {
	alone(t, func(w *World) {
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		for err == nil {
			_, err = w.View([]transport.Rank{0})
		}
		const full = "no view is left: a rank has at most 65535, those of layers and groups included"
		require.ErrorContains(t, err, full)
		_, err = NewLayer(w, smallConfig())
		require.ErrorContains(t, err, full)
		_, err = l.State(nil)
		require.NoError(t, err, "the layers that there are go on")
		_, err = w.Reordered([]int{0})
		require.ErrorContains(t, err, full)
		_, err = w.MeasurePairs(t.Context())
		require.ErrorContains(t, err, full)
	})
}
