package autotune

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Profile is what a Tuner has timed. A program may keep it, as JSON for example, and give it to the
// same layer of the next job on the same machines. Times are in seconds.
type Profile struct {
	// Ranks is the number of ranks of the world, and Most the largest number of chunks.
	Ranks, Most int
	// Timed has the numbers of chunks that were timed, in ascending order: 1, Most, and those in
	// between that might have been the fastest.
	Timed []DegreeSeconds
}

// DegreeSeconds is the time that passes took with their exchanges in a given number of chunks.
type DegreeSeconds struct {
	// Chunks is the number of chunks of each exchange.
	Chunks int `json:"Parts"`
	// Steps is the number of steps that were timed.
	Steps int
	// Forward and Backward are the times of each pass.
	Forward, Backward OpSeconds
	// Slowest is the time of both passes on the slowest rank, in the median step.
	Slowest float64
}

// OpSeconds is the time that all chunks of each operation of a pass took, in seconds: those of the
// median step, as the mean over the ranks.
type OpSeconds struct {
	Dispatch, Experts, Combine float64
	// Weights is the time of the gradients of the experts' weights in backward passes, if they are
	// computed apart from Experts (expert.SplitBackward).
	Weights float64
	// Shared is the time of the shared expert.
	Shared float64 `json:"Aside"`
	// Background is the time of the background collectives that ran, and Collectives their number.
	Background  float64
	Collectives float64 `json:"Chunks"`
	// Whole is the time of the whole pass, with what belongs to no operation: routing, counts,
	// ordering rows, waiting.
	Whole float64
}

// fields returns pointers to all fields.
func (s *OpSeconds) fields() []*float64 {
	return []*float64{
		&s.Dispatch, &s.Experts, &s.Combine, &s.Weights, &s.Shared, &s.Background, &s.Collectives, &s.Whole,
	}
}

// of returns the times of a pass.
func (d *DegreeSeconds) of(pass schedule.Pass) *OpSeconds {
	if pass == schedule.Backward {
		return &d.Backward
	}
	return &d.Forward
}

// byChunks compares an entry of Timed with a number of chunks.
func byChunks(d DegreeSeconds, chunks int) int { return d.Chunks - chunks }

// insert puts d in its place in Timed, in place of an earlier entry of as many chunks.
func (p *Profile) insert(d DegreeSeconds) {
	i, found := slices.BinarySearchFunc(p.Timed, d.Chunks, byChunks)
	if !found {
		p.Timed = slices.Insert(p.Timed, i, DegreeSeconds{})
	}
	p.Timed[i] = d
}

// timed says whether a number of chunks was timed.
func (p *Profile) timed(chunks int) bool {
	_, found := slices.BinarySearchFunc(p.Timed, chunks, byChunks)
	return found
}

// Clone returns a copy that shares nothing with p; nil if p is nil.
func (p *Profile) Clone() *Profile {
	if p == nil {
		return nil
	}
	other := *p
	other.Timed = slices.Clone(p.Timed)
	return &other
}

// skew returns by how much the slowest rank's steps took longer than the mean of their passes. The
// number of chunks must have been timed.
func (p *Profile) skew(chunks int) float64 {
	i := slices.IndexFunc(p.Timed, func(d DegreeSeconds) bool { return d.Chunks == chunks })
	return p.Timed[i].Slowest - p.Timed[i].Forward.Whole - p.Timed[i].Backward.Whole
}

// inChunks are the operations that run once for each chunk.
func inChunks() []schedule.Op {
	return []schedule.Op{schedule.Dispatch, schedule.Expert, schedule.Combine, schedule.Weights}
}

// Fit returns the line through the times that one chunk of an operation took (dispatch, experts,
// weights or combine), against its share of the rows of the pass: α seconds for each chunk, and β
// for all rows together, with r² over the numbers of chunks that were timed. With only two of them
// the line passes through both, and r² says nothing. It is an error if only one number of chunks
// was timed.
func (p *Profile) Fit(pass schedule.Pass, op schedule.Op) (schedule.Fit, error) {
	if !slices.Contains(inChunks(), op) {
		return schedule.Fit{}, fmt.Errorf("autotune: Profile.Fit: %v does not run in chunks", op)
	}
	var s schedule.Samples
	for i := range p.Timed {
		d := &p.Timed[i]
		s.Add(1/float64(d.Chunks), d.of(pass).seconds(op)/float64(d.Chunks))
	}
	return s.Fit()
}

// seconds returns the time that all chunks of an operation took.
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

// Validate reports what is wrong with a profile that is to be used on the given number of ranks and
// up to most chunks. A nil profile is valid: it means none.
func (p *Profile) Validate(ranks, most int) error {
	if p == nil {
		return nil
	}
	if p.Ranks != ranks || p.Most != most {
		return fmt.Errorf("autotune: the profile is of %d ranks and %d chunks, want %d and %d", p.Ranks, p.Most, ranks, most)
	}
	if n := len(p.Timed); n == 0 || p.Timed[0].Chunks != 1 || p.Timed[n-1].Chunks != most {
		return fmt.Errorf("autotune: the profile has not timed 1 and %d chunks", most)
	}
	for i := range p.Timed {
		d := &p.Timed[i]
		if i > 0 && d.Chunks <= p.Timed[i-1].Chunks {
			return fmt.Errorf("autotune: the profile has %d chunks after %d, want ascending numbers", d.Chunks, p.Timed[i-1].Chunks)
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
			return fmt.Errorf("autotune: the profile has %v, want finite numbers from 0", *v)
		}
	}
	if d.Forward.Whole == 0 || d.Backward.Whole == 0 || d.Slowest == 0 {
		return errors.New("autotune: the profile does not say how long whole passes and steps took")
	}
	return nil
}
