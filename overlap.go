package switchyard

import (
	"cmp"
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
)

// Overlap has experts compute on one part of their rows while other parts travel. Each rank's experts are cut into runs, and a part is the
// rows for one run of every rank. Where a rank has fewer experts than there may be parts, a part is the rows of some of the ranks instead: the
// first a rank's own, which need not travel. Results have the same bits with any number of parts. Its zero value is one part: nothing overlaps.
//
// (Tutel's and PipeMoE's pipelines, whose parts are cut by rows; FSMoE's schedule, of which package schedule has the model.)
type Overlap struct {
	// Degree is the number of parts of an exchange; 0 and 1 are one. With Auto it is the most there may be, rounded down to a power of
	// two, and 0 is 4.
	Degree int
	// Auto has the layer choose the parts of forward and of backward passes by itself: it times steps of training in one part and in
	// Degree, then those that may be the fastest by a model of the pass with these times, 16 to 80 steps or so, and takes the fastest. Eval takes one part.
	Auto bool
	// Profile, where it is not nil, is what an earlier job's layer found ([Layer.OverlapProfile]), which Auto goes by at once. All ranks give the same.
	Profile *OverlapProfile
	// Background, where it is not nil, has collectives to run while the experts of a backward pass compute: sums of gradients that nobody needs
	// before the step ends. Without Auto a pass runs all that are ready; with it, as many as it predicts to fit.
	Background Background
	// Observe, where it is not nil, is given the timeline of each pass on this rank. It is called on the goroutine that runs the pass.
	Observe func(pass schedule.Pass, line schedule.Timeline)
}

// OverlapProfile is what a layer has timed under [Overlap.Auto].
type OverlapProfile = autotune.Profile

// DegreeSeconds is the time of passes in a number of chunks, in an [OverlapProfile].
type DegreeSeconds = autotune.DegreeSeconds

// OpSeconds is the time of each operation of a pass, in an [OverlapProfile].
type OpSeconds = autotune.OpSeconds

// Observe has observe be given the timelines of this layer's passes from the next one on, in place of [Overlap.Observe]. A twin's passes are seen by no
// other way; they may run, and observe be called, at the same time as the original's. Any goroutine may call it at any time.
func (l *Layer) Observe(observe func(pass schedule.Pass, line schedule.Timeline)) {
	l.observe.Store(&observe)
}

// SetDegree has exchanges cut into so many parts from the next pass on, of forward and of backward passes; it ends [Overlap.Auto]. All ranks give the same, between
// steps. It is an error if either is not from 1 to what [Overlap.Degree] allows, which where parts are cut by ranks is no more than those.
func (l *Layer) SetDegree(forward, backward int) error {
	if err := l.guard.Enter(context.Background(), "SetDegree"); err != nil {
		return err
	}
	defer l.guard.Leave()
	for pass, n := range [2]int{forward, backward} {
		if most := l.mostParts(); n < 1 || n > most {
			return l.guard.Misuse("SetDegree", "%d parts of %v passes, want 1 to %d", n, schedule.Pass(pass), most)
		}
	}
	l.degree, l.tuner = [2]int{forward, backward}, nil
	l.tellProfile()
	return nil
}

// Background is collectives that wait for a link to be idle, cut into chunks: gradients of dense parts, for one (FSMoE, Pan et al. 2025; Lina, Li et
// al. 2023). All ranks have the same chunks ready in the same pass, in the same order. What no pass has run when the step ends is the program's
// to run. Messages must not mix with those of layers: see [World.View] and [World.Comm].
type Background interface {
	// Ready is the number of chunks that can be run. It is called before a backward pass moves its rows.
	Ready() int
	// Run runs the next chunk, on the goroutine that moves rows.
	Run(ctx context.Context) error
}

// maxDegree bounds the parts of an exchange: each is a message to every rank.
const maxDegree = 64

func (o Overlap) validate() error {
	if o.Degree < 0 || o.Degree > maxDegree {
		return fmt.Errorf("switchyard: Config.Overlap.Degree is %d, want 0 to %d", o.Degree, maxDegree)
	}
	if o.Background != nil && check.Nil(o.Background) {
		return fmt.Errorf("switchyard: Config.Overlap.Background is a nil %T, want collectives, or no value for none", o.Background)
	}
	return nil
}

// most is the largest number of parts of an exchange.
func (o Overlap) most() int {
	if !o.Auto {
		return max(o.Degree, 1)
	}
	most := 1
	for limit := cmp.Or(o.Degree, 4); 2*most <= limit; most *= 2 {
	}
	return most
}

// cutsByRanks tells whether parts are cut by the ranks that rows come from: where some rank has fewer experts than there may be parts.
func (l *Layer) cutsByRanks() bool {
	fewest := l.cfg.Experts
	for r := range l.layout.Parallel {
		fewest = min(fewest, l.layout.Placement.Count(r))
	}
	return fewest < l.cfg.Overlap.most()
}

// mostParts is the largest number of parts of an exchange: where they are cut by ranks, no more than those.
func (l *Layer) mostParts() int {
	most := l.cfg.Overlap.most()
	for l.byRanks && most > l.layout.Parallel {
		if l.cfg.Overlap.Auto {
			most /= 2
		} else {
			most = l.layout.Parallel
		}
	}
	return most
}

// parts is the number of parts of a pass's exchanges.
func (l *Layer) parts(p *pass, direction schedule.Pass) int {
	switch {
	case l.degree != [2]int{}:
		return l.degree[direction]
	case l.tuner == nil:
		return l.mostParts()
	case !p.Info.Train:
		return 1
	}
	return l.tuner.Chunks(direction)
}

// stages are what a pass does to each part, and what it computes beside.
type stages struct {
	dispatch, combine func(ctx context.Context, part int) error
	experts           func(part int)
	weights           func(part int) // of a backward pass whose experts go back in halves, the second
	aside             func()         // while the first part travels
}

// inParts runs a pass's stages: in turn where nothing is to overlap, else with the exchanges on a goroutine of their own, all dispatches before
// all combines, and the experts on this one.
func (l *Layer) inParts(ctx context.Context, p *pass, direction schedule.Pass, parts int, s stages) error {
	profiled := l.tuner != nil && p.Info.Train && l.tuner.Timing()
	chunks, halves := l.chunks(direction), l.experts.Splits() && direction == schedule.Backward
	observe := *l.observe.Load()
	lingers := halves && l.tuner != nil && l.tuner.OverlapsWeights()
	if parts == 1 && !profiled && !lingers && chunks == 0 && observe == nil {
		return s.inTurn(ctx, halves)
	}
	graph := schedule.Pipeline{Pass: direction, Chunks: parts, Background: chunks, SplitBackward: halves}.Graph()
	line, err := schedule.Execute(ctx, graph, func(ctx context.Context, t *schedule.Task) error {
		switch t.Op {
		case schedule.Dispatch:
			return s.dispatch(ctx, t.Chunk)
		case schedule.Combine:
			return s.combine(ctx, t.Chunk)
		case schedule.GradReduce:
			if err := l.cfg.Overlap.Background.Run(ctx); err != nil {
				return errtext.Errorf("switchyard: Overlap.Background: %w", err)
			}
		case schedule.Shared:
			s.aside()
		case schedule.Weights:
			s.weights(t.Chunk)
		default:
			s.experts(t.Chunk)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if profiled {
		l.tuner.Record(direction, line)
	}
	if observe != nil {
		observe(direction, line)
	}
	return nil
}

// inTurn runs the only part of a pass.
func (s *stages) inTurn(ctx context.Context, halves bool) error {
	if err := s.dispatch(ctx, 0); err != nil {
		return err
	}
	s.aside()
	s.experts(0)
	if halves {
		s.weights(0)
	}
	return s.combine(ctx, 0)
}

// chunks is how many of the background's a pass runs.
func (l *Layer) chunks(direction schedule.Pass) int {
	b := l.cfg.Overlap.Background
	if b == nil || direction != schedule.Backward {
		return 0
	}
	ready := b.Ready()
	switch {
	case l.tuner == nil:
		return ready
	}
	return l.tuner.Background(ready)
}
