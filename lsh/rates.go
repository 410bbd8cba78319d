package lsh

import (
	"errors"
	"fmt"
	"strings"
)

// Rates is a rate that changes in the course of training. Early in training the rows for one expert
// are near to each other, so few centroids stand for them well; later they spread.
type Rates []RateFrom

// RateFrom is the rate of one step of a schedule.
type RateFrom struct {
	Step int
	Rate float64
}

// At returns the rate of a step: that of the schedule's entry for it, or on the straight line
// between the entries before and after. Before the first entry it is the first one's rate, after
// the last the last one's, and without entries 0, which stands for the default of [Config].
func (r Rates) At(step int) float64 {
	for i, next := range r {
		if step > next.Step {
			continue
		}
		if i == 0 || step == next.Step {
			return next.Rate
		}
		before := r[i-1]
		part := float64(step-before.Step) / float64(next.Step-before.Step)
		return before.Rate + float64((next.Rate-before.Rate)*part)
	}
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].Rate
}

// String lists the entries, "0:0.1 300:0.4".
func (r Rates) String() string {
	entries := make([]string, len(r))
	for i, f := range r {
		entries[i] = fmt.Sprintf("%d:%v", f.Step, f.Rate)
	}
	return strings.Join(entries, " ")
}

// Validate returns all that is wrong with r: steps that are negative or do not rise, and rates that
// are not above 0 and at most 1.
func (r Rates) Validate() error {
	var faults []error
	for i, f := range r {
		if least := r.least(i); f.Step < least {
			faults = append(faults, fmt.Errorf("lsh: Rates[%d].Step is %d, want %d or more", i, f.Step, least))
		}
		if !(f.Rate > 0 && f.Rate <= 1) {
			faults = append(faults, fmt.Errorf("lsh: Rates[%d].Rate is %v, want above 0 to 1", i, f.Rate))
		}
	}
	return errors.Join(faults...)
}

// least is the least step that entry i may have.
func (r Rates) least(i int) int {
	if i == 0 {
		return 0
	}
	return r[i-1].Step + 1
}

// SetRate sets the rate of the passes that begin from now on; 0 stands for the default. A rate that
// is not from 0 to 1 is an error, and changes nothing. Under [Controlled] the next pass still
// follows the rate before, as its depths are those that suited the last batch.
func (c *Compressor) SetRate(rate float64) error {
	if !(rate >= 0 && rate <= 1) {
		return fmt.Errorf("lsh: rate %v, want 0 to 1", rate)
	}
	c.cfg.Rate = Config{Rate: rate}.withDefaults().Rate
	return nil
}
