package switchyard

import (
	"context"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
)

// Overlap has experts compute one chunk of their rows while other chunks travel. Each rank's
// experts are cut into runs, and a chunk is the rows for one run of every rank. If some rank has
// fewer experts than there may be chunks, a chunk is the rows of some of the ranks instead; the
// first is a rank's own, which need not travel. Results have the same bits with any number of
// chunks. The zero value is one chunk: nothing overlaps.
//
// (The pipelines of Tutel and PipeMoE, whose chunks are cut by rows; the schedule of FSMoE, which
// package schedule models.)
type Overlap struct {
	// Degree is the number of chunks of an exchange; 0 and 1 are one. With Auto it is the largest
	// number, rounded down to a power of two, and 0 is 4.
	Degree int
	// Auto has the layer choose the number of chunks of forward and of backward passes by itself: it
	// times steps of training in one chunk and in Degree, then those that may be the fastest by a
	// model of the pass with these times, 16 to 80 steps or so, and takes the fastest. Eval takes one
	// chunk. Only steps of Forward and Backward alone are timed; passes of NewPass and ForwardPass
	// run in the number that was chosen, one at first: for these give Degree without Auto, or Profile.
	// See package autotune.
	Auto bool
	// Profile, if not nil, is what an earlier job's layer found ([Layer.OverlapProfile]): Auto chooses
	// by it at once. All ranks give the same.
	Profile *OverlapProfile
	// Background, if not nil, has collectives to run while the experts of a backward pass compute:
	// sums of gradients that nobody needs before the step ends, for example. Without Auto a pass runs
	// all that are ready; with it, as many as it predicts to fit. Passes of NewPass and ForwardPass
	// run none, nor those of Forward after one of these in the same step.
	Background Background
	// GradientPiece, if above 0, has gradients summed beside what follows Backward, with the same
	// bits, not in the next Backward or Step: in pieces that begin while a rank sends no rows, with at
	// most that many bytes on their way, up to 16 MiB: 1 MiB takes 34 ms at 250 Mbit/s. Each quarter
	// is two messages to each rank that shares parameters. Not so with [Config].Sums, nor in passes of
	// NewPass. (Lina, Li et al. 2023; FlowMoE, 2025.)
	GradientPiece int
	// Observe, if not nil, is given the timeline of each pass on this rank. It is called on the
	// goroutine that runs the pass.
	Observe func(pass schedule.Pass, line schedule.Timeline)
}

// OverlapProfile is what a layer has timed under [Overlap.Auto].
type OverlapProfile = autotune.Profile

// DegreeSeconds is the time of passes in a number of chunks, in an [OverlapProfile].
type DegreeSeconds = autotune.DegreeSeconds

// OpSeconds is the time of each operation of a pass, in an [OverlapProfile].
type OpSeconds = autotune.OpSeconds

// Background is collectives that wait for a link to be idle, such as sums of the gradients of dense
// layers, cut into pieces (FSMoE, Pan et al. 2025; Lina, Li et al. 2023). All ranks have the same
// ones ready in the same pass, in the same order. Those that no pass has run when the step ends are
// the program's to run. Messages must not mix with those of layers: see [World.View] and
// [World.Comm].
type Background interface {
	// Ready is the number of collectives that can run. It is called before a backward pass moves its
	// rows.
	Ready() int
	// Run runs the next one, on the goroutine that moves rows.
	Run(ctx context.Context) error
}

// Observe gives the timelines of this layer's passes to observe from the next pass on, in place of
// [Overlap.Observe]; nil ends it. Passes on several goroutines may call it at the same time;
// [schedule.Timeline].Number tells them apart. Any goroutine may call Observe at any time.
func (l *Layer) Observe(observe func(pass schedule.Pass, line schedule.Timeline)) {
	if l.stages.Path != nil { // NewLayer has made l
		l.stages.Path.Observe(observe)
	}
}

// OverlapProfile returns what [Overlap.Auto] has timed and goes by, the same on every rank, or nil
// before it is complete. Any goroutine may call it at any time.
func (l *Layer) OverlapProfile() *OverlapProfile {
	if l.stages.Path == nil { // NewLayer has not made l
		return nil
	}
	return l.stages.Path.Profile()
}

// SetDegree sets the number of chunks of the exchanges of forward and of backward passes from the
// next pass on, and ends [Overlap.Auto]. All ranks set the same, between steps. It is an error if
// one is not from 1 to what [Overlap.Degree] allows; if chunks are cut by ranks, to their number.
func (l *Layer) SetDegree(forward, backward int) error {
	if err := l.guard.EnterAll(context.Background(), "SetDegree"); err != nil {
		return err
	}
	defer l.guard.Leave()
	if err := l.stages.Path.SetDegree(forward, backward); err != nil {
		return l.guard.Misuse("SetDegree", "%w", err)
	}
	return nil
}

// newPath completes what takes rows to the experts hosted here: with these experts, and what cuts
// exchanges into chunks, by a tuner if the layer chooses their number itself.
func (c Config) newPath(at layout.Layout, path pipeline.Path, tuner autotune.Config, exchanging *atomic.Int64) (*pipeline.Path, error) {
	most, byRanks := pipeline.Largest(c.Overlap.Degree, c.Overlap.Auto, at.Placement)
	first, end := at.Placement.Of(at.Rank)
	var err error
	if path.Experts, err = experts.New(experts.Config{
		Expert: c.Expert, Shape: expert.Shape{Dim: c.Dim, First: first, Count: end - first, Seed: c.Seed},
		Shared: c.Shared, Total: c.Experts, Order: at.Order, Chunks: most, ByRanks: byRanks,
		Rows: c.Compression.rowGradients() != nil,
	}); err != nil {
		return nil, err
	}
	cfg := pipeline.Config{
		Most: most, ByRanks: byRanks, SplitBackward: path.Experts.Splits(),
		Background: c.Overlap.Background, Observe: c.Overlap.Observe, Exchanging: exchanging,
	}
	if c.Overlap.Auto {
		if err := c.Overlap.Profile.Validate(tuner.Ranks, most); err != nil {
			return nil, errtext.Errorf("switchyard: Config.Overlap.Profile: %w", err)
		}
		tuner.Most, tuner.Known = most, c.Overlap.Profile
		cfg.Tuner = autotune.New(tuner)
	}
	path.Stage = pipeline.New(cfg)
	return &path, nil
}
