package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// onRanks runs do on 1 to 8 ranks, each a subtest.
func onRanks(t *testing.T, do func(t *testing.T, n int)) {
	for n := 1; n <= 8; n++ {
		t.Run(fmt.Sprintf("ranks=%d", n), func(t *testing.T) { do(t, n) })
	}
}

// errDies has each kill the rank that returns it.
var errDies = errors.New("out of memory")

// each runs do on n ranks at once and returns their errors. A rank that returns errDies is aborted;
// the others close in good order.
func each(t testing.TB, n int, do func(ctx context.Context, c *collective.Comm) error) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r, rank := range inproc.New(n) {
		wg.Go(func() {
			defer rank.Close()
			if errs[r] = do(ctx, collective.New(rank)); errs[r] == errDies {
				rank.Abort(errs[r])
			}
		})
	}
	wg.Wait()
	return errs
}

// allSucceed runs do on n ranks at once.
func allSucceed(t testing.TB, n int, do func(ctx context.Context, c *collective.Comm) error) {
	t.Helper()
	for r, err := range each(t, n, do) {
		require.NoError(t, err, "rank %d of %d", r, n)
	}
}

func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// vectors returns n random vectors whose sum depends on the order.
func vectors(r *rand.Rand, n, length int) [][]float32 {
	all := make([][]float32, n)
	for i := range all {
		all[i] = make([]float32, length)
		for k := range all[i] {
			all[i][k] = float32(r.NormFloat64() * math.Exp(4*r.NormFloat64()))
		}
	}
	return all
}

// serial is the tree's sum on one rank.
func serial(leaves [][]float32, length int) []float32 {
	s := tree.NewSum(length)
	for i, leaf := range leaves {
		copy(s.Leaf(i), leaf)
	}
	return s.Total()
}

// sameBits tells where got differs from want in any bit.
func sameBits(got, want []float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d elements, want %d", len(got), len(want))
	}
	for i, v := range want {
		if math.Float32bits(got[i]) != math.Float32bits(v) {
			return fmt.Errorf("element %d of %d is %v, want %v", i, len(want), got[i], v)
		}
	}
	return nil
}
