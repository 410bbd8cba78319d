package switchyard

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/schedule"
)

// OverlapProfile is what a layer has timed under [Overlap.Auto], to be kept, as JSON say, and given to the same layer of the next job on the
// same machines: [Overlap.Profile].
type OverlapProfile struct {
	// Ranks is the number of ranks of the world, and Most the largest number of parts that there may be.
	Ranks, Most int
	// Timed has the degrees that were timed, by ascending Parts: one and Most, and those between that might have been the fastest.
	Timed []DegreeSeconds
}

// DegreeSeconds is what passes took with their exchanges in so many Parts.
type DegreeSeconds struct {
	Parts int
	// Steps is how many steps this is of.
	Steps int
	// Forward and Backward are of each pass.
	Forward, Backward OpSeconds
	// Slowest is what both passes took on the slowest rank, in the median step.
	Slowest float64
}

// OpSeconds is the seconds that all parts of each operation of a pass took: those of the median step, the mean over the ranks.
type OpSeconds struct {
	Dispatch, Experts, Combine float64
	// Weights is that of the gradients of the experts' weights, where they are computed apart from Experts: in backward passes ([expert.Splitter]).
	Weights float64
	// Aside is the shared expert's.
	Aside float64
	// Background is the time of so many Chunks of the background's.
	Background, Chunks float64
	// Whole is that of the pass altogether, with what no operation's is: routing, counts, ordering rows, waiting.
	Whole float64
}

// fields are all of them.
func (s *OpSeconds) fields() []*float64 {
	return []*float64{&s.Dispatch, &s.Experts, &s.Combine, &s.Weights, &s.Aside, &s.Background, &s.Chunks, &s.Whole}
}

// of is the passes of one direction.
func (d *DegreeSeconds) of(pass schedule.Pass) *OpSeconds {
	if pass == schedule.Backward {
		return &d.Backward
	}
	return &d.Forward
}

// take puts what was seen of a degree in its place.
func (p *OverlapProfile) take(d DegreeSeconds) {
	i, found := slices.BinarySearchFunc(p.Timed, d.Parts, func(of DegreeSeconds, parts int) int { return of.Parts - parts })
	if !found {
		p.Timed = slices.Insert(p.Timed, i, DegreeSeconds{})
	}
	p.Timed[i] = d
}

// behind is by how much the slowest rank's steps in so many parts, which were timed, took longer than the mean of their passes.
func (p *OverlapProfile) behind(parts int) float64 {
	i := slices.IndexFunc(p.Timed, func(d DegreeSeconds) bool { return d.Parts == parts })
	return p.Timed[i].Slowest - p.Timed[i].Forward.Whole - p.Timed[i].Backward.Whole
}

// Fit returns the line through what one part of an operation of a pass took, dispatch, experts, weights or combine, against its share of the pass's rows: α
// seconds for each part, and β for all rows together, with r² over the degrees that were timed. With two of them a line through both is all that there
// is, and r² says nothing. It is an error where but one degree was timed.
func (p *OverlapProfile) Fit(pass schedule.Pass, op schedule.Op) (schedule.Fit, error) {
	if !slices.Contains([]schedule.Op{schedule.Dispatch, schedule.Expert, schedule.Combine, schedule.Weights}, op) {
		return schedule.Fit{}, fmt.Errorf("switchyard: OverlapProfile.Fit: %v is no operation in parts", op)
	}
	var s schedule.Samples
	for i := range p.Timed {
		d := &p.Timed[i]
		s.Add(1/float64(d.Parts), d.of(pass).seconds(op)/float64(d.Parts))
	}
	return s.Fit()
}

// seconds is what all parts of an operation took.
func (s *OpSeconds) seconds(op schedule.Op) float64 {
	switch op {
	case schedule.Dispatch:
		return s.Dispatch
	case schedule.Expert:
		return s.Experts
	case schedule.Combine:
		return s.Combine
	default:
		return s.Weights
	}
}

// validate tells whether the profile is one of so many ranks and parts.
func (p *OverlapProfile) validate(ranks, most int) error {
	if p == nil {
		return nil
	}
	if p.Ranks != ranks || p.Most != most {
		return fmt.Errorf("switchyard: Config.Overlap.Profile is of %d ranks and %d parts, want %d and %d", p.Ranks, p.Most, ranks, most)
	}
	if n := len(p.Timed); n == 0 || p.Timed[0].Parts != 1 || p.Timed[n-1].Parts != most {
		return fmt.Errorf("switchyard: Config.Overlap.Profile has not timed 1 and %d parts", most)
	}
	for i := range p.Timed {
		d := &p.Timed[i]
		if i > 0 && d.Parts <= p.Timed[i-1].Parts {
			return fmt.Errorf("switchyard: Config.Overlap.Profile has %d parts after %d, want ascending numbers", d.Parts, p.Timed[i-1].Parts)
		}
		if err := d.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (d *DegreeSeconds) validate() error {
	for _, v := range append(append(d.Forward.fields(), d.Backward.fields()...), &d.Slowest) {
		if !(*v >= 0) || math.IsInf(*v, 1) {
			return fmt.Errorf("switchyard: Config.Overlap.Profile has %v, want finite numbers from 0", *v)
		}
	}
	if d.Forward.Whole == 0 || d.Backward.Whole == 0 || d.Slowest == 0 {
		return errors.New("switchyard: Config.Overlap.Profile does not say what whole passes and steps took")
	}
	return nil
}
