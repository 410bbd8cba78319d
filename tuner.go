package switchyard

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/schedule"
)

// tuner finds out for [Overlap.Auto] into how many parts to cut the exchanges of each pass. It times steps in one part and in as many as there may
// be, in turns; fits to every operation a cost of α for each part and β for all of the rows, and has the graph of the pass foretell every degree ([profiled]):
// what FSMoE does with its closed forms (Pan et al. 2025), without their cases. Then it times those that may be the fastest by that, again in turns,
// and once more those that are still alike, and takes the fastest.
type tuner struct {
	steps   int     // backward passes since the profile began, and what went before it
	trying  []int   // the degrees that take turns
	from    int     // the step at which they began to
	heats   int     // of these that there were
	trials  []trial // what was seen, here, of each degree that has had its turn
	decided bool
	profile OverlapProfile
	degree  [2]int // of each pass
	chunks  int    // of the background's, in a backward pass
	lingers bool   // gradients of weights are computed beside the last combine in one part too
	// predicted is the time of both passes with those.
	predicted time.Duration
	// taken is the time of the passes since the last look at it, and usual that of the first look after a choice, by all ranks.
	taken, usual float64
}

// trial is the steps that were timed in so many parts: forward, then backward of each.
type trial struct {
	parts int
	last  int // the step that the last of steps is of
	steps [][2]OpSeconds
}

const (
	warmSteps    = 2    // not timed
	heatSteps    = 7    // of each degree in a heat
	mostHeats    = 3    // the first is of one part and most
	profileAgain = 2048 // steps from one profile to the next
	lookAgain    = 64   // steps from one look at the time that passes take to the next
	// worthGoroutine is how many seconds must overlap to be worth what handing work from one goroutine to another takes, where ranks share processors.
	worthGoroutine = 200e-6
	drifted        = 1.25 // times as long, or as short, as after the choice: then it is time for another profile
)

func newTuner(ranks, most int, known *OverlapProfile) *tuner {
	t := &tuner{degree: [2]int{1, 1}, profile: OverlapProfile{Ranks: ranks, Most: most}}
	if known != nil {
		t.profile.Timed = slices.Clone(known.Timed)
		t.choose()
	} else {
		t.again()
	}
	return t
}

// again begins another profile.
func (t *tuner) again() {
	t.steps, t.decided, t.heats, t.trials = 0, false, 0, nil
	t.profile.Timed = nil
	t.heat(slices.Compact([]int{1, t.profile.Most}))
	t.from = warmSteps
}

// heat has the given degrees take turns. Where one of them is new, all begin anew: what is compared was timed in the same turns.
func (t *tuner) heat(degrees []int) {
	t.trying, t.from = degrees, t.steps
	t.heats++
	if slices.ContainsFunc(degrees, func(d int) bool { return len(t.trial(d).steps) == 0 }) {
		for _, d := range degrees {
			t.trial(d).steps = nil
		}
	}
}

// trial is that of so many parts.
func (t *tuner) trial(parts int) *trial {
	i, found := slices.BinarySearchFunc(t.trials, parts, func(of trial, parts int) int { return of.parts - parts })
	if !found {
		t.trials = slices.Insert(t.trials, i, trial{parts: parts})
	}
	return &t.trials[i]
}

// turn is the degree whose turn to be timed the present step is, or 0. Each turn of all begins one further, so that no degree always has the
// same of several micro-batches.
func (t *tuner) turn() int {
	n := t.steps - t.from
	if t.decided || n < 0 || n >= heatSteps*len(t.trying) {
		return 0
	}
	return t.trying[(n+n/len(t.trying))%len(t.trying)]
}

// parts is the degree of a pass of the present step.
func (t *tuner) parts(pass schedule.Pass) int {
	if d := t.turn(); d > 0 {
		return d
	}
	return t.degree[pass]
}

// passed takes in the time since begin, which a pass of training took.
func (t *tuner) passed(pass schedule.Pass, begin time.Time) {
	took := time.Since(begin).Seconds()
	t.taken += took
	if s := t.sample(pass); s != nil {
		s.Whole += took
	}
}

// sample is where the times of the present step belong, if it is one of the profile.
func (t *tuner) sample(pass schedule.Pass) *OpSeconds {
	d := t.turn()
	if d == 0 {
		return nil
	}
	of := t.trial(d)
	if len(of.steps) == 0 || of.last != t.steps {
		of.last, of.steps = t.steps, append(of.steps, [2]OpSeconds{})
	}
	return &of.steps[len(of.steps)-1][pass]
}

// note takes in the timeline of a pass.
func (t *tuner) note(pass schedule.Pass, line schedule.Timeline) {
	s := t.sample(pass)
	if s == nil {
		return
	}
	for i, span := range line.Spans {
		took := span.End - span.Start
		switch line.Graph.Tasks[i].Op {
		case schedule.Dispatch:
			s.Dispatch += took
		case schedule.Combine:
			s.Combine += took
		case schedule.Shared:
			s.Aside += took
		case schedule.GradReduce:
			s.Background += took
			s.Chunks++
		case schedule.Weights:
			s.Weights += took
		default:
			s.Experts += took
		}
	}
}

// stepped ends a step. Once a heat is complete l's ranks judge it together: here, where none of them can be missing because it could
// not route its tokens.
func (t *tuner) stepped(ctx context.Context, l *Layer) error {
	defer l.tellProfile()
	switch n := t.steps - t.from - heatSteps*len(t.trying); {
	case n < 0:
	case !t.decided:
		return t.judge(ctx, l)
	case n > profileAgain:
		t.again()
	case n%lookAgain == 0:
		return t.look(ctx, l)
	}
	return nil
}

// look adds up the ranks' times since the last look, and begins another profile if they are not what they were after the choice.
func (t *tuner) look(ctx context.Context, l *Layer) error {
	taken := []float32{float32(t.taken)}
	t.taken = 0
	if err := l.everyone.AllReduce(ctx, taken); err != nil {
		return errtext.Errorf("switchyard: time of overlapped passes: %w", err)
	}
	switch now := float64(taken[0]); {
	case t.usual == 0:
		t.usual = now
	case now > drifted*t.usual || now*drifted < t.usual:
		t.again()
	}
	return nil
}

// judge adds up what the ranks saw in a heat, and has those degrees run another that may still be the fastest, or chooses.
func (t *tuner) judge(ctx context.Context, l *Layer) error {
	seen := make([]DegreeSeconds, len(t.trying))
	for i, d := range t.trying {
		var err error
		if seen[i], err = t.trial(d).sum(ctx, l); err != nil {
			return errtext.Errorf("switchyard: choosing the degree of overlap: %w", err)
		}
	}
	for _, d := range seen {
		t.profile.take(d)
	}
	if next := t.profile.contenders(); len(next) > 1 && t.heats < mostHeats {
		t.heat(next)
		return nil
	}
	t.choose()
	return nil
}

// sum takes the median step, then the mean over the ranks. Of whole steps it takes the slowest rank's: the others wait for it.
func (of *trial) sum(ctx context.Context, l *Layer) (DegreeSeconds, error) {
	d := DegreeSeconds{Parts: of.parts, Steps: len(of.steps)}
	var fields []*float64
	for pass := range of.steps[0] {
		median := d.of(schedule.Pass(pass))
		*median = of.median(schedule.Pass(pass))
		fields = append(fields, median.fields()...)
	}
	ranks := l.world.Size()
	words := make([]float32, len(fields), len(fields)+len(of.steps)*ranks)
	for i, f := range fields {
		words[i] = float32(*f)
	}
	words = of.appendSteps(words, int(l.world.Rank()), ranks)
	if err := l.everyone.AllReduce(ctx, words); err != nil {
		return d, err
	}
	for i, f := range fields {
		*f = float64(words[i]) / float64(ranks)
	}
	d.Slowest = slowestStep(words[len(fields):], ranks)
	return d, nil
}

// appendSteps appends what each step took this rank, and room for the others', so that the sum over the ranks has all.
func (of *trial) appendSteps(words []float32, rank, ranks int) []float32 {
	for _, step := range of.steps {
		all := make([]float32, ranks)
		all[rank] = float32(step[schedule.Forward].Whole + step[schedule.Backward].Whole)
		words = append(words, all...)
	}
	return words
}

// slowestStep is the median step of the slowest rank, from what appendSteps made of all ranks.
func slowestStep(words []float32, ranks int) float64 {
	var slowest []float32
	for of := range slices.Chunk(words, ranks) {
		slowest = append(slowest, slices.Max(of))
	}
	slices.Sort(slowest)
	return float64(slowest[len(slowest)/2])
}

// median has the median over the steps of each time.
func (of *trial) median(pass schedule.Pass) (m OpSeconds) {
	sorted := make([]float64, len(of.steps))
	for i, to := range m.fields() {
		for j := range of.steps {
			sorted[j] = *of.steps[j][pass].fields()[i]
		}
		slices.Sort(sorted)
		*to = sorted[len(sorted)/2]
	}
	return m
}

// choose takes the degrees that are fastest by the profile. What it says that a step takes is the time of the passes, and by how much the slowest
// rank's steps in such degrees took longer than the mean of their passes.
func (t *tuner) choose() {
	t.decided, t.taken, t.usual = true, 0, 0
	seconds := 0.0
	for pass := range t.degree {
		p := t.profile.profiled(schedule.Pass(pass))
		t.degree[pass] = p.bestDegree()
		seconds += p.time(t.degree[pass], 0) + t.profile.behind(t.degree[pass])/2
		if p.pass == schedule.Backward {
			t.chunks = p.bestChunks(t.degree[pass])
		}
	}
	back := &t.profile.Timed[0].Backward
	t.lingers = min(back.Weights, back.Combine) > worthGoroutine
	t.predicted = time.Duration(seconds * 1e9)
}
