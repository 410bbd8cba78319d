package dispatch_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestAStepInSteadyStateHasNoNewMatrices: what it allocates does not grow with the tokens.
func TestAStepInSteadyStateHasNoNewMatrices(t *testing.T) {
	for _, tokens := range []int{4, 400} {
		p := newProblem(rand.New(rand.NewPCG(25, 26)), 1, tokens, 4, 2)
		for _, err := range onRanks(1, func(tr transport.Transport) error {
			d, err := dispatch.New(t.Context(), tr, p.cfg)
			if err != nil {
				return err
			}
			require.LessOrEqual(t, alloctest.Least(20, func() {
				pass, err := d.Dispatch(t.Context(), p.x, p.indices, p.weights)
				require.NoError(t, err)
				_, err = pass.Combine(t.Context(), pass.Rows())
				require.NoError(t, err)
				_, _, err = pass.CombineBackward(t.Context(), p.dy)
				require.NoError(t, err)
				_, err = pass.DispatchBackward(t.Context(), pass.Rows())
				require.NoError(t, err)
				pass.Release()
			}), 8.)
			return nil
		}) {
			require.NoError(t, err)
		}
	}
}
