package switchyard

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// grouped returns the worlds of a group of worlds by its own numbers, and those of the others as
// they are.
func grouped(t *testing.T, worlds []*World, members ...transport.Rank) (group, others []*World) {
	t.Helper()
	made := make([]*World, len(worlds))
	for _, err := range atOnce(worlds, func(w *World) (err error) {
		made[w.Rank()], err = w.Group(members)
		return err
	}) {
		require.NoError(t, err)
	}
	group = make([]*World, len(members))
	for r, w := range worlds {
		if made[r] == nil {
			others = append(others, w)
		} else {
			group[made[r].Rank()] = made[r]
		}
	}
	return group, others
}

// groupOfGroup returns the worlds of four ranks of six, which joined as 1, 5, 2 and 4, and of all.
func groupOfGroup(t *testing.T, worlds []*World) []*World {
	t.Helper()
	t.Cleanup(func() { closeWorlds(worlds) })
	outer, others := grouped(t, worlds, 5, 4, 2, 1, 0)
	require.Len(t, others, 1)
	inner, others := grouped(t, outer, 3, 0, 2, 1)
	require.Len(t, others, 1)
	return inner
}

// TestALayerOnAGroupHasTheBitsOfOneAlone, with compression of nodes, which makes views of its own.
func TestALayerOnAGroupHasTheBitsOfOneAlone(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cuts := cutsOf(splits[4][0])
	cfg := layersUnderTest()["drops"]
	cfg.ExpertParallel = 2
	gathering := cfg
	gathering.Compression = Compression{When: CompressAlways, Nodes: true}
	gathering.Topology = alltoall.Topology{Node: []int{0, 0, 1, 1}}
	for _, cfg := range []Config{cfg, gathering} {
		want := trainTwice(t, inprocWorlds(4), cfg, x, dy, cuts)
		group := groupOfGroup(t, inprocWorlds(6))
		for range 2 { // layers; the group's Close does nothing
			requireSameBits(t, want, trainTwice(t, group, cfg, x, dy, cuts))
			for _, w := range group {
				w.layers = 0
			}
		}
	}
}

// TestErrorsOfGroupsNameRanksAsTheyJoined, whatever their numbers in the group.
func TestErrorsOfGroupsNameRanksAsTheyJoined(t *testing.T) {
	const odd = 3 // of the group; it joined as 4
	for name, c := range map[string]struct {
		do   func(w *World) error
		says string
	}{
		"other configuration": {func(w *World) error {
			cfg := smallConfig()
			if w.Rank() == odd {
				cfg.Seed = 99
			}
			_, err := NewLayer(w, cfg)
			return err
		}, "Seed=99"},
		"refused batch": {func(w *World) error {
			r, err := newRankOfStep(w)
			if err != nil {
				return err
			}
			if w.Rank() == odd {
				r.x.Data[0] = float32(math.NaN())
			}
			return r.forward()
		}, "rank 4: "},
		"dead rank": {func(w *World) error {
			r, err := newRankOfStep(w)
			if err != nil {
				return err
			}
			if w.Rank() == odd {
				transport.Abort(w.Transport(), errors.New("it was killed"))
			}
			return r.forward()
		}, "it was killed"},
		"other lists": {func(w *World) error {
			members := []transport.Rank{0, 3}
			if w.Rank() == odd {
				members = []transport.Rank{3}
			}
			_, err := w.Group(members)
			return err
		}, "it gives ranks 4, rank 1 gives ranks 1 4"},
	} {
		t.Run(name, func(t *testing.T) {
			for r, err := range together(groupOfGroup(t, inprocWorlds(6)), c.do) {
				if name != "other configuration" || r != odd { // which sees the first other rank
					require.Equal(t, transport.Rank(4), transport.CulpritOf(err), "%v", err)
				}
				require.ErrorContains(t, err, c.says)
			}
		})
	}
}

// TestRanksOfAGroupOutOfStep get an error that says so, and which group.
func TestRanksOfAGroupOutOfStep(t *testing.T) {
	group := groupOfGroup(t, inprocWorlds(6))
	began := time.Now()
	for _, err := range together(group, func(w *World) error {
		r, err := newRankOfStep(w)
		if err == nil && w.Rank() == 2 {
			return r.save()
		}
		return errors.Join(err, r.forward())
	}) {
		require.ErrorIs(t, err, transport.ErrOutOfStep)
		require.ErrorContains(t, err, "ranks 1 5 2 4, layer 1: Parameters #1")
		require.ErrorContains(t, err, "ranks 1 5 2 4, layer 1: Forward #1")
	}
	require.Less(t, time.Since(began), 10*time.Second)
}

// TestRanksInDifferentGroupsAreNotBlamed: each rank is in two groups, whose other members are late
// by minutes, and a rank of one of them has much to do in the other.
func TestRanksInDifferentGroupsAreNotBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var worlds []*World
		for _, e := range inproc.New(4) {
			worlds = append(worlds, NewWorld(e))
		}
		for r, err := range together(worlds, func(w *World) error {
			m, err := NewMesh(w, Axis{"pp", 2}, Axis{"ep", 2})
			if err != nil {
				return err
			}
			stage, err := m.World("ep")
			if err != nil {
				return err
			}
			r, err := newRankOfStep(stage)
			if err != nil {
				return err
			}
			across, err := m.World("pp")
			for range 3 {
				err = errors.Join(err, r.train(time.Duration(w.Rank())*2*time.Minute), across.Comm().Barrier(t.Context()))
			}
			return errors.Join(err, w.Comm().Barrier(t.Context()))
		}) {
			require.NoError(t, err, "rank %d", r)
		}
	})
}

// TestAWorldOfOneGoroutine makes one layer or group at a time, also on its groups.
func TestAWorldOfOneGoroutine(t *testing.T) {
	alone(t, func(w *World) {
		g, err := w.Group([]transport.Rank{0})
		require.NoError(t, err)
		require.NoError(t, w.beginLayer("NewLayer"))
		_, err = NewLayer(g, smallConfig())
		require.ErrorIs(t, err, lifecycle.ErrInUse)
		_, err = g.Group(nil)
		require.ErrorIs(t, err, lifecycle.ErrInUse)
		w.building.Unlock()
		none, err := g.Group(nil)
		require.NoError(t, err)
		require.Nil(t, none)
		require.NoError(t, g.Close())
		_, err = NewLayer(g, smallConfig())
		require.NoError(t, err, "the transport is the job's")
	})
}

// TestNewWorldRefusesAView, whose channels would be those of its world.
func TestNewWorldRefusesAView(t *testing.T) {
	end := inproc.New(1)[0]
	defer end.Close()
	view, err := transport.Sub(end, 9, []transport.Rank{0})
	require.NoError(t, err)
	require.PanicsWithValue(t, "switchyard: NewWorld of a view; World.Group makes a world of some ranks", func() { NewWorld(view) })
}

// TestAGroupHasTheWholeAPIOfAWorld, over its own ranks.
func TestAGroupHasTheWholeAPIOfAWorld(t *testing.T) {
	group := groupOfGroup(t, inprocWorlds(6))
	for r, err := range atOnce(group, func(w *World) error {
		ctx := t.Context()
		require.Equal(t, 4, w.Size())
		require.Empty(t, w.Topology().Node, "memory has no nodes")
		require.Equal(t, 6, w.Transport().Size(), "that of the job")
		require.NotEmpty(t, w.Source())
		if _, err := w.MeasureLinks(ctx, alltoall.Nodes(4, 2)); err != nil {
			return err
		}
		if _, err := w.MeasurePairs(ctx); err != nil {
			return err
		}
		turned, err := w.Reordered([]int{3, 2, 1, 0})
		if err != nil {
			return err
		}
		require.Equal(t, 3-w.Rank(), turned.Rank())
		d, sets, err := twoDenseSets(turned)
		if err != nil {
			return err
		}
		first := &sets[0].Value[0]
		before := *first
		for _, set := range sets {
			set.Grad.Leaf(int(turned.Rank()))[0] = float32(turned.Rank()) + 1
		}
		if err := d.SumGradients(ctx, []int{1, 1, 1, 1}); err != nil {
			return err
		}
		if err := d.Step(ctx, expert.NewSGD(1)); err != nil {
			return err
		}
		require.Equal(t, before-1-2-3-4, *first)
		return nil
	}) {
		require.NoError(t, err, "rank %d", r)
	}
}

// BenchmarkGroup evaluates a layer on two ranks of a job, and on those of a group of a group of a
// group.
func BenchmarkGroup(b *testing.B) {
	for depth := range 4 {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			b.ReportAllocs()
			for _, err := range onRanks(inprocWorlds(2), func(w *World) (err error) {
				for range depth {
					if w, err = w.Group([]transport.Rank{1, 0}); err != nil {
						return err
					}
				}
				r, err := newRankOfStep(w)
				for range b.N {
					err = errors.Join(err, r.forward(), r.backward())
				}
				return err
			}) {
				require.NoError(b, err)
			}
		})
	}
}
