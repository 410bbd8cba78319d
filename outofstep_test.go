package switchyard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// rankOfStep is one rank of a job in which one does something else than the others.
type rankOfStep struct {
	w  *World
	l  *Layer
	x  blas32.General
	dy blas32.General
}

func newRankOfStep(w *World) (*rankOfStep, error) {
	return newRankOfStepOf(w, layersUnderTest()["dropless"])
}

func newRankOfStepOf(w *World, cfg Config) (*rankOfStep, error) {
	l, err := NewLayer(w, cfg)
	r := rand.New(rand.NewPCG(1, uint64(w.Rank())))
	return &rankOfStep{w, l, randomMatrix(r, 2*bitsGroup, bitsDim), randomMatrix(r, 2*bitsGroup, bitsDim)}, err
}

// train is one step, after a pause before each call.
func (r *rankOfStep) train(pause time.Duration) error {
	ctx := context.Background()
	time.Sleep(pause) // sleep-ok: the clock is that of synctest
	if _, err := r.l.Forward(ctx, r.x); err != nil {
		return err
	}
	time.Sleep(pause) // sleep-ok: the clock is that of synctest
	if _, err := r.l.Backward(ctx, r.dy); err != nil {
		return err
	}
	time.Sleep(pause) // sleep-ok: the clock is that of synctest
	return r.l.Step(ctx, expert.NewSGD(0.1))
}

func (r *rankOfStep) forward() error  { _, err := r.l.Forward(context.Background(), r.x); return err }
func (r *rankOfStep) backward() error { _, err := r.l.Backward(context.Background(), r.dy); return err }
func (r *rankOfStep) eval() error     { _, err := r.l.Eval(context.Background(), r.x); return err }
func (r *rankOfStep) save() error     { _, err := r.l.Parameters(context.Background()); return err }
func (r *rankOfStep) barrier() error  { return r.w.Comm().Barrier(context.Background()) }
func (r *rankOfStep) newLayer() error {
	_, err := NewLayer(r.w, layersUnderTest()["dropless"])
	return err
}
func (r *rankOfStep) clip(parts ...Trainable) error {
	_, err := ClipGradients(context.Background(), 1, parts...)
	return err
}

// clipTwo clips the gradients of a pass of two layers, of which list makes a list.
func (r *rankOfStep) clipTwo(list func(second *Layer) []Trainable) error {
	l, err := NewLayer(r.w, layersUnderTest()["dropless"])
	if err != nil {
		return err
	}
	other := *r
	other.l = l
	if err := errors.Join(r.forward(), r.backward(), other.forward(), other.backward()); err != nil {
		return err
	}
	return r.clip(list(l)...)
}
func (r *rankOfStep) newPass() error { _, err := r.l.NewPass(); return err }

// inPass calls each of do with one pass.
func (r *rankOfStep) inPass(do ...func(r *rankOfStep, p *Pass) error) error {
	p, err := r.l.NewPass()
	for _, call := range do {
		err = cmp.Or(err, call(r, p))
	}
	return err
}

func (r *rankOfStep) evalPass(p *Pass) error {
	_, err := p.Eval(context.Background(), r.x, router.Batch{})
	return err
}

func (r *rankOfStep) forwardPass(p *Pass) error {
	_, err := p.Forward(context.Background(), r.x, router.Batch{})
	return err
}

func (r *rankOfStep) backwardPass(p *Pass) error {
	_, err := p.Backward(context.Background(), r.dy)
	return err
}

func (*rankOfStep) dropPass(p *Pass) error    { return p.Drop() }
func (*rankOfStep) releasePass(p *Pass) error { return p.Release() }

// onSecond makes two layers like the first, and calls pass twice with the last of them.
func (r *rankOfStep) onSecond(pass func(r *rankOfStep) error) (err error) {
	l := r.l
	for range 2 {
		if l, err = NewLayer(r.w, layersUnderTest()["dropless"]); err != nil {
			return err
		}
	}
	second := &rankOfStep{r.w, l, r.x, r.dy}
	return errors.Join(pass(second), pass(second))
}

func (r *rankOfStep) pass() error { return errors.Join(r.forward(), r.backward()) }

func (r *rankOfStep) reduce() error {
	return r.w.Comm().AllReduce(context.Background(), make([]float32, 1<<16))
}

// mistakes are what rank 2 does while the others train, and what the error states of both sides.
var mistakes = map[string]struct {
	do     func(r *rankOfStep) error
	others func(r *rankOfStep) error
	states []string
}{
	"evaluates twice": {func(r *rankOfStep) error { return errors.Join(r.eval(), r.eval()) }, func(r *rankOfStep) error { return r.train(0) },
		[]string{"layer 1: Eval #2", "layer 1: Backward #2"}},
	"saves": {(*rankOfStep).save, func(r *rankOfStep) error { return r.train(0) },
		[]string{"layer 1: Parameters #1", "layer 1: Forward #1"}},
	"leaves a batch out": {func(r *rankOfStep) error { return errors.Join(r.train(0), r.save()) },
		func(r *rankOfStep) error { return errors.Join(r.train(0), r.train(0)) },
		[]string{"layer 1: Parameters #4", "layer 1: Forward #4"}},
	"makes a layer": {(*rankOfStep).newLayer, func(r *rankOfStep) error { return r.train(0) },
		[]string{"NewLayer #2", "layer 1: Forward #1"}},
	"makes a group": {func(r *rankOfStep) error { _, err := r.w.Group(nil); return err }, func(r *rankOfStep) error { return r.train(0) },
		[]string{"Group #2", "layer 1: Forward #1"}},
	"makes a pass": {func(r *rankOfStep) error { return errors.Join(r.newPass(), r.save()) }, func(r *rankOfStep) error { return r.train(0) },
		[]string{"layer 1: NewPass #1", "layer 1: Forward #1"}},
	"waits for all": {(*rankOfStep).barrier, func(r *rankOfStep) error { return r.train(0) },
		[]string{"World.Comm: barrier #1", "layer 1: Forward #1"}},
	"waits where others sum": {(*rankOfStep).barrier, (*rankOfStep).reduce,
		[]string{"World.Comm: barrier #1", "World.Comm: all-reduce #1"}},
	"steps early": {func(r *rankOfStep) error { return r.train(0) }, func(r *rankOfStep) error {
		return errors.Join(r.forward(), r.backward(), r.forward())
	}, []string{"layer 1: Step #3", "layer 1: Forward #3"}},
	"steps late": {func(r *rankOfStep) error {
		return errors.Join(r.forward(), r.backward(), r.forward())
	}, func(r *rankOfStep) error { return r.train(0) }, []string{"layer 1: Step #3", "layer 1: Forward #3"}},
	"saves while others step": {func(r *rankOfStep) error { return errors.Join(r.forward(), r.backward(), r.save()) },
		func(r *rankOfStep) error { return r.train(0) }, []string{"layer 1: Step #3", "layer 1: Parameters #3"}},
	"clips while others step": {func(r *rankOfStep) error { return errors.Join(r.forward(), r.backward(), r.clip(r.l)) },
		func(r *rankOfStep) error { return r.train(0) }, []string{"layer 1: ClipGradients #3", "layer 1: Step #3"}},
	"lists the parts of a norm in another order": {
		func(r *rankOfStep) error { return r.clipTwo(func(l *Layer) []Trainable { return []Trainable{l, r.l} }) },
		func(r *rankOfStep) error { return r.clipTwo(func(l *Layer) []Trainable { return []Trainable{r.l, l} }) },
		[]string{"layer 1: ClipGradients #3", "layer 2: ClipGradients #3"}},
	"gathers less": {func(r *rankOfStep) error {
		return errors.Join(r.barrier(), r.w.Comm().AllGather(context.Background(), make([]byte, 3), make([]byte, 1)))
	}, func(r *rankOfStep) error { return errors.Join(r.barrier(), r.reduce()) },
		[]string{"World.Comm: all-gather #2", "World.Comm: all-reduce #2"}},
	"trains while others evaluate": {func(r *rankOfStep) error { return r.train(0) }, func(r *rankOfStep) error { return errors.Join(r.eval(), r.eval()) },
		[]string{"layer 1: Eval #2", "layer 1: Backward #2"}},
	"evaluates the third layer": {func(r *rankOfStep) error { return r.onSecond((*rankOfStep).eval) },
		func(r *rankOfStep) error { return r.onSecond((*rankOfStep).pass) }, []string{"layer 3: Eval #2", "layer 3: Backward #2"}},
	"evaluates a pass": {func(r *rankOfStep) error { return r.inPass((*rankOfStep).evalPass, (*rankOfStep).evalPass) },
		func(r *rankOfStep) error { return r.inPass((*rankOfStep).forwardPass, (*rankOfStep).backwardPass) },
		[]string{"layer 1, pass 1: Eval #2", "layer 1, pass 1: Backward #2"}},
	"repeats a pass": {func(r *rankOfStep) error {
		return r.inPass((*rankOfStep).forwardPass, (*rankOfStep).dropPass, (*rankOfStep).forwardPass)
	}, func(r *rankOfStep) error { return r.inPass((*rankOfStep).forwardPass, (*rankOfStep).backwardPass) },
		[]string{"layer 1, pass 1: Forward #2", "layer 1, pass 1: Backward #2"}},
	"releases a pass": {func(r *rankOfStep) error {
		return errors.Join(r.inPass((*rankOfStep).forwardPass, (*rankOfStep).releasePass), r.save())
	}, func(r *rankOfStep) error { return r.inPass((*rankOfStep).forwardPass, (*rankOfStep).backwardPass) },
		[]string{"the end of a pass #2", "layer 1, pass 1: Backward #2"}},
}

// TestRanksOutOfStep: all ranks get the error that states both sides, within seconds.
func TestRanksOutOfStep(t *testing.T) {
	for name, m := range mistakes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var worlds []*World
				for _, e := range inproc.New(3) {
					worlds = append(worlds, NewWorld(e))
				}
				requireOutOfStep(t, worlds, m.do, m.others, m.states)
			})
		})
	}
}

// TestRanksOutOfStepOverTCP is the same where statements travel, in real time.
func TestRanksOutOfStepOverTCP(t *testing.T) {
	for _, name := range []string{"evaluates twice", "saves", "makes a layer"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mistakes[name]
			requireOutOfStep(t, tcpWorlds(t, 3), m.do, m.others, m.states)
		})
	}
}

// together runs do for every rank, and closes no world before all have ended.
func together(worlds []*World, do func(w *World) error) []error {
	errs := make([]error, len(worlds))
	var wg sync.WaitGroup
	for r, w := range worlds {
		wg.Go(func() { errs[r] = do(w) })
	}
	wg.Wait()
	return errs
}

func requireOutOfStep(t *testing.T, worlds []*World, do, others func(*rankOfStep) error, states []string) {
	t.Helper()
	defer closeWorlds(worlds)
	ranks := make([]*rankOfStep, len(worlds))
	for _, err := range together(worlds, func(w *World) (err error) {
		ranks[w.Rank()], err = newRankOfStep(w)
		return err
	}) {
		require.NoError(t, err)
	}
	begun := time.Now()
	errs := together(worlds, func(w *World) error {
		if w.Rank() == 2 {
			return do(ranks[2])
		}
		return others(ranks[w.Rank()])
	})
	require.Less(t, time.Since(begun), time.Minute)
	seen := 0
	for r, err := range errs {
		require.Error(t, err, "rank %d", r)
		if !errors.Is(err, transport.ErrOutOfStep) {
			continue
		}
		seen++
		for _, s := range states {
			require.ErrorContains(t, err, s, "rank %d", r)
		}
		require.ErrorContains(t, err, "rank 2 ", "rank %d", r)
	}
	require.Equal(t, len(worlds), seen, "errors: %v", errs)
}

// TestARankThatIsLateIsNotBlamed: a checkpoint, or anything else between calls, takes as long as it
// takes.
func TestARankThatIsLateIsNotBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var worlds []*World
		for _, e := range inproc.New(3) {
			worlds = append(worlds, NewWorld(e))
		}
		for r, err := range together(worlds, func(w *World) error {
			r, err := newRankOfStep(w)
			if err != nil {
				return err
			}
			for range 2 {
				if err := r.train(time.Duration(w.Rank()) * 8 * time.Minute); err != nil {
					return err
				}
			}
			behind := time.Duration(2-w.Rank()) * 8 * time.Minute
			time.Sleep(behind) // sleep-ok: the clock is that of synctest
			return errors.Join(r.barrier(), r.newLayer())
		}) {
			require.NoError(t, err, "rank %d", r)
		}
	})
}

// TestTwoGoroutinesAreNotBlamed: layers of two goroutines are called in another order on each rank,
// with minutes between the first call of the one and the first call of the other.
func TestTwoGoroutinesAreNotBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var worlds []*World
		for _, e := range inproc.New(2) {
			worlds = append(worlds, NewWorld(e))
		}
		for r, err := range together(worlds, func(w *World) error {
			var two [2]*rankOfStep
			for i := range two {
				var err error
				if two[i], err = newRankOfStep(w); err != nil {
					return err
				}
			}
			var errs [2]error
			var wg sync.WaitGroup
			for i := range two {
				wg.Go(func() {
					if i == int(w.Rank()) {
						time.Sleep(5 * time.Minute) // sleep-ok: the clock is that of synctest
					}
					errs[i] = two[i].train(0)
				})
			}
			wg.Wait()
			return errors.Join(errs[:]...)
		}) {
			require.NoError(t, err, "rank %d", r)
		}
	})
}

// TestATimeoutStatesWhatAllWaitedIn rather than blame a rank that waits itself.
func TestATimeoutStatesWhatAllWaitedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends, err := inproc.Open(inproc.Config{Ranks: 3, OpTimeout: time.Minute})
		require.NoError(t, err)
		var worlds []*World
		for _, e := range ends {
			worlds = append(worlds, NewWorld(e))
		}
		errs := together(worlds, func(w *World) error {
			r, err := newRankOfStep(w)
			if err != nil || w.Rank() == 2 {
				return err
			}
			return r.forward()
		})
		require.NoError(t, errs[2])
		for r, err := range errs[:2] {
			require.ErrorIs(t, err, transport.ErrTimeout, "rank %d", r)
			require.NotEqual(t, transport.Rank(1-r), transport.CulpritOf(err))
			for other := range 2 {
				require.Regexp(t, fmt.Sprintf("rank %d (is|said .* that it was) in layer 1: Forward #1", other), err.Error())
			}
		}
	})
}
