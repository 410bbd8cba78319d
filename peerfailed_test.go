package switchyard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// requireOneFails has rank 2 fail alone in what the others do too. All must hear of it, and whose
// failure it was.
func requireOneFails(t *testing.T, worlds []*World, cfg Config, do func(r *rankOfStep) error, says string) {
	t.Helper()
	defer closeWorlds(worlds)
	errs := together(worlds, func(w *World) error {
		r, err := newRankOfStepOf(w, cfg)
		if err != nil {
			return err
		}
		return do(r)
	})
	for r, err := range errs {
		require.ErrorContains(t, err, says, "rank %d", r)
		require.ErrorIs(t, err, ErrFailed, "rank %d", r)
		if r != 2 {
			require.ErrorIs(t, err, transport.ErrPeerFailed, "rank %d", r)
			require.Equal(t, transport.Rank(2), transport.CulpritOf(err), "rank %d: %v", r, err)
		}
	}
}

// crowded has all tokens go to the experts of the last rank, which takes no more than one rank has.
func crowded() Config {
	cfg := layersUnderTest()["dropless"]
	cfg.Experts, cfg.Hosted, cfg.MaxRows = 3, []int{0, 0, 3}, 4*bitsGroup
	return cfg
}

// inTheMiddle trains, with a context that on rank 2 ends while it waits for the others' backward
// pass.
func inTheMiddle(wait, patience time.Duration) func(r *rankOfStep) error {
	return func(r *rankOfStep) error {
		ctx := context.Background()
		if _, err := r.l.Forward(ctx, r.x); err != nil {
			return err
		}
		if r.w.Rank() == 2 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, patience)
			defer cancel()
		} else {
			timer := time.NewTimer(wait) // these come later
			<-timer.C
		}
		_, err := r.l.Backward(ctx, r.dy)
		return err
	}
}

func TestAFailureOfOneRankIsHeardOfByAll(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		do   func(r *rankOfStep) error
		says string
	}{
		"too many rows":       {crowded(), (*rankOfStep).forward, "MaxRows is"},
		"evaluation":          {crowded(), (*rankOfStep).eval, "MaxRows is"},
		"a context that ends": {layersUnderTest()["dropless"], inTheMiddle(2*time.Second, time.Second), "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var worlds []*World
				for _, e := range inproc.New(3) {
					worlds = append(worlds, NewWorld(e))
				}
				requireOneFails(t, worlds, c.cfg, c.do, c.says)
			})
		})
	}
}

func TestAFailureOfOneRankIsHeardOfOverTCP(t *testing.T) {
	requireOneFails(t, tcpWorlds(t, 3), crowded(), (*rankOfStep).forward, "MaxRows is")
}
