package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/schedule"
)

// tuner finds out for [Overlap.Auto] into how many parts to cut the exchanges of each pass. It times some steps in one part and some
// in as many as there may be, fits to every operation a cost of α for each part and β for all of the rows, adds the ranks' costs up, and
// takes the degree that is fastest by those ([profiled]): what FSMoE does with its closed forms (Pan et al. 2025), without their cases.
type tuner struct {
	most    int // parts
	steps   int // backward passes since the last profile, and what went before it
	decided bool
	seen    [2][2][profileSteps]OpSeconds // by pass, then in one part and in most: here, in each step of the profile
	seconds [2][2]OpSeconds               // of the median step, the mean over the ranks
	step    [2]float64                    // both passes' seconds on the slowest rank, in one part and in most
	degree  [2]int                        // of each pass
	chunks  int                           // of the background's, in a backward pass
	// predicted is the time of both passes with those.
	predicted time.Duration
	// taken is the time of the passes since the last look at it, and usual that of the first look after a choice, by all ranks.
	taken, usual float64
}

// OpSeconds is the seconds that all parts of each operation of a pass took: those of the median step, the mean over the ranks.
type OpSeconds struct {
	Dispatch, Experts, Combine float64
	// Aside is the shared expert's.
	Aside float64
	// Background is the time of so many Chunks of the background's.
	Background, Chunks float64
	// Whole is that of the pass altogether, with what no operation's is: routing, counts, ordering rows, waiting.
	Whole float64
}

// fields are all of them.
func (s *OpSeconds) fields() []*float64 {
	return []*float64{&s.Dispatch, &s.Experts, &s.Combine, &s.Aside, &s.Background, &s.Chunks, &s.Whole}
}

// OverlapProfile is what a layer has timed under [Overlap.Auto], to be kept, as JSON say, and given to the same layer of the next job on the
// same machines: [Overlap.Profile].
type OverlapProfile struct {
	// Ranks is the number of ranks of the world, and Most the number of parts that Seconds are of, beside one.
	Ranks, Most int
	// Seconds has forward, then backward passes; of each those in one part, then those in Most.
	Seconds [2][2]OpSeconds
	// Step is the seconds of forward and backward together on the slowest rank, of the median step in one part, then in Most.
	Step [2]float64
}

// validate tells whether the profile is one of so many ranks and parts.
func (p *OverlapProfile) validate(ranks, most int) error {
	if p == nil {
		return nil
	}
	if p.Ranks != ranks || p.Most != most {
		return fmt.Errorf("switchyard: Config.Overlap.Profile is of %d ranks and %d parts, want %d and %d", p.Ranks, p.Most, ranks, most)
	}
	for _, pass := range p.Seconds {
		for _, s := range pass {
			for _, v := range s.fields() {
				if !(*v >= 0) || math.IsInf(*v, 1) {
					return fmt.Errorf("switchyard: Config.Overlap.Profile has %v, want finite numbers from 0", *v)
				}
			}
			if s.Whole == 0 {
				return errors.New("switchyard: Config.Overlap.Profile does not say what whole passes took")
			}
		}
	}
	for _, v := range p.Step {
		if !(v > 0) || math.IsInf(v, 1) {
			return fmt.Errorf("switchyard: Config.Overlap.Profile has a step of %v seconds, want a finite number above 0", v)
		}
	}
	return nil
}

const (
	warmSteps    = 2    // not timed
	profileSteps = 5    // of one part, and as many of most
	profileAgain = 2048 // steps from one profile to the next
	lookAgain    = 64   // steps from one look at the time that passes take to the next
	drifted      = 1.25 // times as long, or as short, as after the choice: then it is time for another profile
	// worthwhile is how many times as fast as one part most parts must have been to be taken, and clearly what a degree that has not been
	// timed must be foretold to be: a median of five steps may be off by so much.
	worthwhile, clearly = 1.02, 1.05
)

func newTuner(most int, known *OverlapProfile) *tuner {
	t := &tuner{most: most, degree: [2]int{1, 1}}
	if known != nil {
		t.seconds, t.step, t.steps = known.Seconds, known.Step, warmSteps+2*profileSteps
		t.choose()
	}
	return t
}

// phase says what the present step is for: -1 nothing to time, 0 profile in one part, 1 in most parts.
func (t *tuner) phase() int {
	switch n := t.steps - warmSteps; {
	case n < 0 || n >= 2*profileSteps:
		return -1
	case n < profileSteps:
		return 0
	}
	return 1
}

// parts is the degree of a pass of the present step.
func (t *tuner) parts(pass schedule.Pass) int {
	switch t.phase() {
	case 0:
		return 1
	case 1:
		return t.most
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
	phase := t.phase()
	if phase < 0 {
		return nil
	}
	return &t.seen[pass][phase][(t.steps-warmSteps)%profileSteps]
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
		default:
			s.Experts += took
		}
	}
}

// stepped ends a step. Once the profile is complete l's ranks decide together: here, where none of them can be missing because it could
// not route its tokens.
func (t *tuner) stepped(ctx context.Context, l *Layer) error {
	switch {
	case t.steps < warmSteps+2*profileSteps:
	case !t.decided:
		return t.decide(ctx, l)
	case t.steps > profileAgain:
		t.again()
	case (t.steps-warmSteps-2*profileSteps)%lookAgain == 0:
		return t.look(ctx, l)
	}
	return nil
}

// again begins another profile.
func (t *tuner) again() {
	t.steps, t.decided, t.seen = warmSteps, false, [2][2][profileSteps]OpSeconds{}
}

// look adds up the ranks' times since the last look, and begins another profile if they are not what they were after the choice.
func (t *tuner) look(ctx context.Context, l *Layer) error {
	taken := []float32{float32(t.taken)}
	t.taken = 0
	if err := l.everyone.AllReduce(ctx, taken); err != nil {
		return fmt.Errorf("switchyard: time of overlapped passes: %w", err)
	}
	switch now := float64(taken[0]); {
	case t.usual == 0:
		t.usual = now
	case now > drifted*t.usual || now*drifted < t.usual:
		t.again()
	}
	return nil
}

// decide takes the median steps, then the mean over the ranks, and chooses. Of whole steps it takes the slowest rank's: the others wait for it.
func (t *tuner) decide(ctx context.Context, l *Layer) error {
	var fields []*float64
	for pass := range t.seen {
		for phase := range t.seen[pass] {
			t.seconds[pass][phase] = medianStep(t.seen[pass][phase][:])
			fields = append(fields, t.seconds[pass][phase].fields()...)
		}
	}
	words := make([]float32, len(fields), len(fields)+2*profileSteps*l.world.Size())
	for i, f := range fields {
		words[i] = float32(*f)
	}
	words = t.appendSteps(words, int(l.world.Rank()), l.world.Size())
	if err := l.everyone.AllReduce(ctx, words); err != nil {
		return fmt.Errorf("switchyard: choosing the degree of overlap: %w", err)
	}
	for i, f := range fields {
		*f = float64(words[i]) / float64(l.world.Size())
	}
	t.step = slowestSteps(words[len(fields):], l.world.Size())
	t.choose()
	return nil
}

// appendSteps appends what each step of the profile took this rank, and room for the others', so that the sum over the ranks has all.
func (t *tuner) appendSteps(words []float32, rank, ranks int) []float32 {
	for phase := range 2 {
		for i := range profileSteps {
			of := make([]float32, ranks)
			of[rank] = float32(t.seen[schedule.Forward][phase][i].Whole + t.seen[schedule.Backward][phase][i].Whole)
			words = append(words, of...)
		}
	}
	return words
}

// slowestSteps is the median over each phase's steps of what the slowest rank took, from what appendSteps made of all ranks.
func slowestSteps(words []float32, ranks int) (seconds [2]float64) {
	for phase := range seconds {
		var slowest [profileSteps]float32
		for i := range slowest {
			slowest[i] = slices.Max(words[:ranks])
			words = words[ranks:]
		}
		slices.Sort(slowest[:])
		seconds[phase] = float64(slowest[profileSteps/2])
	}
	return seconds
}

// medianStep has the median of each time.
func medianStep(steps []OpSeconds) (m OpSeconds) {
	sorted := make([]float64, len(steps))
	for i, to := range m.fields() {
		for j := range steps {
			sorted[j] = *steps[j].fields()[i]
		}
		slices.Sort(sorted)
		*to = sorted[len(sorted)/2]
	}
	return m
}

// choose takes the degrees that are fastest with what has been timed.
func (t *tuner) choose() {
	t.decided, t.taken, t.usual = true, 0, 0
	seconds, share := 0.0, 0.0
	for pass := range t.degree {
		p := profiled{pass: schedule.Pass(pass), one: t.seconds[pass][0], many: t.seconds[pass][1], most: t.most}
		t.degree[pass] = p.bestDegree()
		seconds += p.time(t.degree[pass], 0)
		share += p.share(t.degree[pass]) / 2
		if p.pass == schedule.Backward {
			t.chunks = p.bestChunks(t.degree[pass])
		}
	}
	late := t.behind(0)
	t.predicted = time.Duration((seconds + late + share*(t.behind(1)-late)) * 1e9)
}

// behind is by how much the slowest rank's step took longer than the mean of its passes.
func (t *tuner) behind(phase int) float64 {
	return t.step[phase] - t.seconds[schedule.Forward][phase].Whole - t.seconds[schedule.Backward][phase].Whole
}
