package switchyard

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// spoiling is a router whose gate's decisions are spoilt, where there is something to do that.
type spoiling struct {
	router.Router
	spoil *func(d *router.Decision) *router.Decision
}

func (spoiling) String() string { return "spoiling" }

func (s spoiling) New(shape router.Shape) (router.Gate, error) {
	g, err := s.Router.New(shape)
	return spoilingGate{g, s.spoil}, err
}

type spoilingGate struct {
	router.Gate
	spoil *func(d *router.Decision) *router.Decision
}

func (g spoilingGate) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	d, err := g.Gate.Route(x, b)
	if err == nil && *g.spoil != nil {
		d = (*g.spoil)(d)
	}
	return d, err
}

// spoils are what a gate may get wrong.
func spoils() map[string]func(d *router.Decision) *router.Decision {
	change := func(do func(d *router.Decision)) func(d *router.Decision) *router.Decision {
		return func(d *router.Decision) *router.Decision {
			bad := *d
			bad.Assignment = d.Clone()
			do(&bad)
			return &bad
		}
	}
	return map[string]func(d *router.Decision) *router.Decision{
		"nil":             func(*router.Decision) *router.Decision { return nil },
		"zero":            func(*router.Decision) *router.Decision { return &router.Decision{} },
		"token too large": change(func(d *router.Decision) { d.Token[3] = 1 << 30 }),
		"negative token":  change(func(d *router.Decision) { d.Token[3] = -1 }),
		"out of order":    change(func(d *router.Decision) { d.Token[0], d.Token[1] = d.Token[1], d.Token[0] }),
		"few weights":     change(func(d *router.Decision) { d.Weight = d.Weight[:1] }),
		"NaN":             change(func(d *router.Decision) { d.Weight[1] = float32(math.NaN()) }),
		"end too large":   change(func(d *router.Decision) { d.Ends[0] = 1 << 30 }),
		"negative end":    change(func(d *router.Decision) { d.Ends[0] = -1 }),
		"few ends":        change(func(d *router.Decision) { d.Ends = d.Ends[:1] }),
		"many experts":    change(func(d *router.Decision) { d.Experts = 1 << 30 }),
		"many tokens":     change(func(d *router.Decision) { d.Tokens = 1 << 30 }),
		"no slots":        change(func(d *router.Decision) { d.Mixture = &router.Mixture{} }),
		"many slots":      change(func(d *router.Decision) { d.Mixture = &router.Mixture{Slots: math.MaxInt} }),
		"no matrices": change(func(d *router.Decision) {
			d.Mixture = &router.Mixture{Slots: 1, Ends: []int{2, 4, 6}, Empty: make([]bool, 3)}
		}),
	}
}

// TestWhatAGateGetsWrongIsARefusal on every rank, which names the gate's; the next batch works.
func TestWhatAGateGetsWrongIsARefusal(t *testing.T) {
	for _, parallel := range []int{2, 1} {
		for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
			var spoil func(d *router.Decision) *router.Decision
			cfg := smallConfig()
			cfg.ExpertParallel, cfg.Router = parallel, spoiling{cfg.Router, &spoil}
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			x := randomMatrix(rand.New(rand.NewPCG(1, 2)), 6, 6)
			for _, name := range slices.Sorted(maps.Keys(spoils())) {
				if w.Rank() == 1 {
					spoil = spoils()[name]
				}
				for _, op := range []string{"Forward", "Eval"} {
					err := calls(l, x)[op](t.Context())
					require.ErrorIs(t, err, alltoall.ErrRefused, name)
					require.NotErrorIs(t, err, ErrFailed, name)
					require.Equal(t, transport.Rank(1), transport.CulpritOf(err), name)
				}
				spoil = nil
				require.NoError(t, stepOn(t.Context(), l, x, expert.NewSGD(0)), name)
			}
			return nil
		}) {
			require.NoError(t, err, "rank %d", rank)
		}
	}
}
