package switchyard

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestAHelperThatLeavesIsNamed by all, in whatever it was to compute.
func TestAHelperThatLeavesIsNamed(t *testing.T) {
	const helper = 1
	for _, phase := range []string{"forward", "parameters", "backward", "gradients"} {
		worlds := inprocWorlds(3)
		for rank, err := range onRanks(worlds, func(w *World) error {
			cfg := onHot()
			quit := &leaving{w: w}
			if w.Rank() == helper {
				quit.phase = phase
			}
			cfg.Expert = leavingExpert{cfg.Expert, quit}
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			b := batchesOf(w, 1)
			if phase == "forward" && w.Rank() == helper {
				return nil
			}
			_, err = l.Forward(t.Context(), b.x[0])
			if err == nil && phase == "backward" && w.Rank() == helper {
				return nil
			}
			if err == nil {
				_, err = l.Backward(t.Context(), b.dy[0])
			}
			if w.Rank() != helper {
				require.ErrorIs(t, err, ErrFailed, "%s: rank %d", phase, w.Rank())
				require.Equal(t, transport.Rank(helper), transport.CulpritOf(err), "%s: rank %d: %v", phase, w.Rank(), err)
			}
			return nil
		}) {
			require.NoError(t, err, "%s: rank %d", phase, rank)
		}
	}
}

// leaving has a rank leave when it computes.
type leaving struct {
	w     *World
	phase string
}

type leavingExpert struct {
	expert.Expert
	quit *leaving
}

func (leavingExpert) String() string { return "leaving" }

func (l leavingExpert) New(s expert.Shape) (expert.Group, error) {
	g, err := l.Expert.New(s)
	return leavingGroup{g.(expert.SplitBackward), l.quit}, err
}

type leavingGroup struct {
	expert.SplitBackward
	quit *leaving
}

func (g leavingGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	if g.quit.phase == "parameters" {
		_ = g.quit.w.Close()
	}
	return g.SplitBackward.Forward(x, rows)
}

func (g leavingGroup) BackwardWeights(saved expert.Saved) {
	if g.quit.phase == "gradients" {
		_ = g.quit.w.Close()
	}
	g.SplitBackward.BackwardWeights(saved)
}

// TestBalanceIsValidated together with all else.
func TestBalanceIsValidated(t *testing.T) {
	cfg := smallConfig()
	cfg.Balance.Slots = -1
	require.ErrorContains(t, cfg.Validate(2), "switchyard: Config.Balance: balance: Slots is -1")
}

// tooMany is a planner that gives a rank more runs than it may have.
type tooMany struct{ anyRuns }

func (t tooMany) Plan(p *balance.Problem) alltoall.Allocation {
	other := *p
	other.Limits.Slots += 3
	return t.anyRuns.Plan(&other)
}

// TestAPlanAboveTheLimitsIsRefused on every rank, which can go on.
func TestAPlanAboveTheLimitsIsRefused(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		cfg.Balance = balance.Config{When: balance.Always, Slots: 1, Planner: func() balance.Planner { return tooMany{anyRuns{1}} }}
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		_, err = l.Forward(t.Context(), batchesOf(w, 1).x[0])
		require.ErrorIs(t, err, alltoall.ErrRefused)
		require.ErrorContains(t, err, "limit 1")
		_, err = l.Forward(t.Context(), part(batchesOf(w, 1).x[0], 0, 0)) // nothing is shared out
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}
