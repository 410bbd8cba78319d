package switchyard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// stages is the mesh of a rank of eight: two stages of two copies of the experts on two ranks each.
type stages struct {
	*Mesh
	mine  *World // of this rank's stage
	stage int
}

func newStages(w *World) (*stages, error) {
	m, err := NewMesh(w, Axis{"pp", 2}, Axis{"dp", 2}, Axis{"ep", 0})
	if err != nil {
		return nil, err
	}
	mine, err := m.World("dp", "ep")
	return &stages{m, mine, m.Coord("pp")}, err
}

// config is that of the layer of a stage, whose experts are spread over the axis ep.
func (s *stages) config(of func(stage int) Config) Config {
	cfg := of(s.stage)
	cfg.ExpertParallel = s.Size("ep")
	return cfg
}

// onTransports runs do on eight ranks over memory and over every other transport.
func onTransports(t *testing.T, do func(t *testing.T, worlds []*World)) {
	list := transportsUnderTest()
	list["inproc"] = func(_ *testing.T, n int) []*World { return inprocWorlds(n) }
	for name, open := range list {
		t.Run(name, func(t *testing.T) {
			worlds := open(t, 8)
			defer closeWorlds(worlds)
			do(t, worlds)
		})
	}
}

func stageConfig(stage int) Config {
	cfg := layersUnderTest()["drops"]
	cfg.Seed += uint64(stage)
	return cfg
}

// TestMeshOfStages: the layer of each of two stages that train at the same time has the bits of the
// same layer alone on four ranks.
func TestMeshOfStages(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	var x, dy [2]blas32.General
	var want [2]result
	cuts := cutsOf(splits[4][0])
	for stage := range want {
		x[stage], dy[stage] = randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
		cfg := stageConfig(stage)
		cfg.ExpertParallel = 2
		want[stage] = trainTwice(t, inprocWorlds(4), cfg, x[stage], dy[stage], cuts)
	}
	onTransports(t, func(t *testing.T, worlds []*World) {
		var got [2]result
		var mu sync.Mutex
		for i := range got {
			got[i] = result{y: make([]float32, len(x[i].Data)), dx: make([]float32, len(x[i].Data))}
		}
		for _, err := range atOnce(worlds, func(w *World) error {
			s, err := newStages(w)
			if err != nil {
				return err
			}
			i, at := s.stage, int(s.mine.Rank())
			begin, end := slices.Concat([]int{0}, cuts)[at], cuts[at]
			return trainRank(s.mine, s.config(stageConfig), part(x[i], begin, end), part(dy[i], begin, end), router.Batch{},
				func(y, dx blas32.General, g, p []Tensor, dropped int) {
					mu.Lock()
					defer mu.Unlock()
					copy(got[i].y[begin*bitsDim:], y.Data)
					copy(got[i].dx[begin*bitsDim:], dx.Data)
					got[i].dropped += dropped
					if at == 0 {
						got[i].gradients, got[i].parameters = g, p
					}
				})
		}) {
			require.NoError(t, err)
		}
		for i := range want {
			requireSameBits(t, want[i], got[i])
		}
	})
}

// microBatches is how many a step of the pipeline has.
const pipelined = 4

// pipelineRank is one rank of a pipeline of two stages, and what it computes in a step.
type pipelineRank struct {
	stage int
	layer *Layer
	peer  transport.Transport // the rank of the other stage with the same tokens

	x, dy, dx  [pipelined]blas32.General // in the first stage x is given, in the last dy
	gradients  []Tensor
	parameters []Tensor
}

func newPipelineRank(w *World) (*pipelineRank, error) {
	s, err := newStages(w)
	if err != nil {
		return nil, err
	}
	p := &pipelineRank{stage: s.stage}
	if p.layer, err = NewLayer(s.mine, s.config(func(stage int) Config {
		cfg := stageConfig(stage)
		cfg.MicroBatches = pipelined
		return cfg
	})); err != nil {
		return nil, err
	}
	across, err := s.World("pp")
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(5, uint64(s.mine.Rank())))
	for i := range pipelined {
		p.x[i] = randomMatrix(r, 2*bitsGroup, bitsDim)
		p.dy[i] = randomMatrix(r, 2*bitsGroup, bitsDim)
	}
	p.peer, err = across.View([]transport.Rank{0, 1})
	return p, err
}

// forward computes a micro-batch, whose tokens the last stage receives.
func (p *pipelineRank) forward(ctx context.Context, i int, run func(x blas32.General) (blas32.General, error)) error {
	if p.stage == 1 {
		if err := p.recv(ctx, i, p.x[i]); err != nil {
			return err
		}
	}
	y, err := run(p.x[i])
	if err != nil || p.stage == 1 {
		return err
	}
	return p.send(ctx, i, y)
}

// backward computes the gradients of a micro-batch, those of whose output the first stage receives.
func (p *pipelineRank) backward(ctx context.Context, i int, run func(dy blas32.General) (blas32.General, error)) error {
	if p.stage == 0 {
		if err := p.recv(ctx, pipelined+i, p.dy[i]); err != nil {
			return err
		}
	}
	dx, err := run(p.dy[i])
	if err != nil {
		return err
	}
	p.dx[i] = blas32.General{Rows: dx.Rows, Cols: dx.Cols, Stride: dx.Stride, Data: slices.Clone(dx.Data)}
	if p.stage == 0 {
		return nil
	}
	return p.send(ctx, pipelined+i, dx)
}

func (p *pipelineRank) send(ctx context.Context, tag int, m blas32.General) error {
	return p.peer.Send(ctx, transport.Rank(1-p.stage), transport.Tag(tag), view.Bytes(m.Data))
}

func (p *pipelineRank) recv(ctx context.Context, tag int, m blas32.General) error {
	_, err := p.peer.Recv(ctx, transport.Rank(1-p.stage), transport.Tag(tag), view.Bytes(m.Data))
	return err
}

// step ends a step of training.
func (p *pipelineRank) step(ctx context.Context) (err error) {
	if p.gradients, err = p.layer.Gradients(ctx); err != nil {
		return err
	}
	if err = p.layer.Step(ctx, expert.NewSGD(0.1)); err != nil {
		return err
	}
	p.parameters, err = p.layer.Parameters(ctx)
	return err
}

// oneAfterAnother takes each micro-batch through both stages and back before the next one begins.
func (p *pipelineRank) oneAfterAnother(ctx context.Context) error {
	for i := range pipelined {
		if err := p.forward(ctx, i, func(x blas32.General) (blas32.General, error) { return p.layer.Forward(ctx, x) }); err != nil {
			return err
		}
		if err := p.backward(ctx, i, func(dy blas32.General) (blas32.General, error) { return p.layer.Backward(ctx, dy) }); err != nil {
			return err
		}
	}
	return p.step(ctx)
}

// oneForwardOneBackward is the schedule of PipeDream-Flush: the first stage is one micro-batch
// ahead, and then each does a Forward and a Backward in turn.
func (p *pipelineRank) oneForwardOneBackward(ctx context.Context) error {
	ahead := 1 - p.stage
	var passes [pipelined]*Pass
	for i := range pipelined + ahead {
		if i < pipelined {
			if err := p.forward(ctx, i, func(x blas32.General) (y blas32.General, err error) {
				passes[i], err = p.layer.ForwardPass(ctx, x, router.Batch{})
				return passes[i].Output(), err
			}); err != nil {
				return err
			}
		}
		if b := i - ahead; b >= 0 {
			pass := passes[b]
			if err := p.backward(ctx, b, func(dy blas32.General) (blas32.General, error) { return pass.Backward(ctx, dy) }); err != nil {
				return err
			}
			if err := pass.Release(); err != nil {
				return err
			}
		}
	}
	return p.step(ctx)
}

// TestMeshPipeline: four micro-batches by 1F1B over two stages have the bits of one after another.
func TestMeshPipeline(t *testing.T) {
	needExactProducts(t)
	run := func(worlds []*World, schedule func(*pipelineRank, context.Context) error) []*pipelineRank {
		ranks := make([]*pipelineRank, len(worlds))
		for _, err := range atOnce(worlds, func(w *World) (err error) {
			p, err := newPipelineRank(w)
			if err != nil {
				return err
			}
			ranks[w.Rank()] = p
			return schedule(p, t.Context())
		}) {
			require.NoError(t, err)
		}
		return ranks
	}
	worlds := inprocWorlds(8)
	want := run(worlds, (*pipelineRank).oneAfterAnother)
	closeWorlds(worlds)
	onTransports(t, func(t *testing.T, worlds []*World) {
		for r, got := range run(worlds, (*pipelineRank).oneForwardOneBackward) {
			for i := range pipelined {
				sameBits(t, fmt.Sprintf("dx %d of rank %d", i, r), want[r].dx[i].Data, got.dx[i].Data)
			}
			for i := range got.gradients {
				sameBits(t, got.gradients[i].Name, want[r].gradients[i].Data, got.gradients[i].Data)
				sameBits(t, got.parameters[i].Name, want[r].parameters[i].Data, got.parameters[i].Data)
			}
		}
	})
}

// TestMeshWorlds: those of one axis are there, those of several are made once, in the order of the
// names, and every misuse is an error or panics.
func TestMeshWorlds(t *testing.T) {
	for r, err := range onRanks(inprocWorlds(8), func(w *World) error {
		m, err := NewMesh(w, Axis{"pp", 2}, Axis{"ep", 2}, Axis{"dp", 2})
		if err != nil {
			return err
		}
		require.Equal(t, "pp=2 × ep=2 × dp=2", m.String())
		of, err := m.World("dp", "ep")
		if err != nil {
			return err
		}
		again, err := m.World("dp", "ep")
		require.NoError(t, err)
		require.Same(t, of, again)
		// ep is not the fastest of the mesh: ranks 1 and 2 change places, as 5 and 6 do.
		require.Equal(t, 2*m.Coord("dp")+m.Coord("ep"), int(of.Rank()))
		require.Equal(t, transport.Rank(4*m.Coord("pp")+2), of.views.Joined(1))
		ep, err := m.World("ep")
		require.Equal(t, m.Size("ep"), ep.Size())
		require.EqualValues(t, m.Coord("ep"), ep.Rank())
		_, unknown := m.World("tp")
		require.EqualError(t, unknown, `switchyard: Mesh.World: no axis "tp" among pp=2 × ep=2 × dp=2`)
		require.PanicsWithValue(t, `switchyard: Mesh: no axis "tp" among pp=2 × ep=2 × dp=2`, func() { m.Coord("tp") })
		require.Panics(t, func() { m.Size("tp") })
		if _, err := m.World(); err != nil {
			return err
		}
		// These are not the names of what World("dp", "ep") and World() made.
		for _, name := range []string{"dp,ep", ""} {
			_, unknown = m.World(name)
			require.ErrorContains(t, unknown, fmt.Sprintf("Mesh.World: no axis %q", name))
		}
		return err
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	_, err := NewMesh(nil, Axis{"a", 1})
	require.ErrorContains(t, err, "not made by Join or NewWorld")
	for _, m := range []*Mesh{nil, {}} {
		_, err = m.World("a")
		require.EqualError(t, err, "switchyard: Mesh.World: the mesh was not made by NewMesh")
	}
	for _, w := range []*World{nil, {}} {
		_, err = w.Group(nil)
		require.EqualError(t, err, "switchyard: Group: the world was not made by Join or NewWorld")
	}
}

// TestMeshesThatDiffer are an error that names the rank, and axes that do not fit one on every
// rank.
func TestMeshesThatDiffer(t *testing.T) {
	for r, err := range together(inprocWorlds(4), func(w *World) error {
		axes := []Axis{{"dp", 2}, {"ep", 2}}
		if w.Rank() == 2 {
			axes[0].Name, axes[1].Name = "ep", "dp"
		}
		_, err := NewMesh(w, axes...)
		return err
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "NewMesh")
		require.ErrorContains(t, err, "axes=ep=2 × dp=2")
		if r != 2 {
			require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
		}
	}
	for _, err := range onRanks(inprocWorlds(4), func(w *World) error {
		_, err := NewMesh(w, Axis{"dp", 3}, Axis{"ep", 0})
		return err
	}) {
		require.ErrorContains(t, err, "switchyard: NewMesh: axes dp=3 × ep=0 have 3 places, which do not fit the 4 ranks")
	}
}
