package schedule

import (
	"errors"
	"fmt"
	"math"
)

// Samples accumulates measured times of one operation at various sizes, in constant memory. The
// zero value is empty.
type Samples struct {
	n             int
	x, y          float64 // means of size and time
	sxx, sxy, syy float64 // sums of products of deviations from the means
	least, most   float64 // sizes
}

// ErrFewSizes says that a line cannot be fitted: it takes samples of two different sizes.
var ErrFewSizes = errors.New("schedule: samples of at least two sizes are needed")

// Add adds the time in seconds that one start with the given size took. It panics if either is
// negative or not finite.
func (s *Samples) Add(size, seconds float64) {
	for _, v := range []float64{size, seconds} {
		if !(v >= 0) || math.IsInf(v, 0) {
			panic(fmt.Sprintf("schedule: size %v took %v s; must not be negative", size, seconds))
		}
	}
	if s.n == 0 {
		s.least, s.most = size, size
	}
	s.least, s.most = min(s.least, size), max(s.most, size)
	s.n++
	dx, dy := size-s.x, seconds-s.y
	s.x += dx / float64(s.n)
	s.y += dy / float64(s.n)
	s.sxx += dx * (size - s.x)
	s.sxy += dx * (seconds - s.y)
	s.syy += dy * (seconds - s.y)
}

// Len returns the number of samples.
func (s *Samples) Len() int { return s.n }

// Fit is a line through samples.
type Fit struct {
	Linear
	// R2 is the part of the variance of times that the line explains: 1 if all samples lie on it, 0
	// if it says no more than the mean does.
	R2 float64 `json:"r2"`
	// Samples is how many there were, Least and Most their smallest and largest size. Beyond these
	// the line is a guess.
	Samples int     `json:"samples"`
	Least   float64 `json:"least"`
	Most    float64 `json:"most"`
}

// Fit returns the line with the least sum of squared errors among those whose Alpha and Beta are
// not negative. If ordinary least squares gives a negative Alpha, that is the line through the
// origin; if it gives a negative Beta, the mean.
func (s *Samples) Fit() (Fit, error) {
	if s.n < 2 || s.least == s.most {
		return Fit{}, fmt.Errorf("%w; got %d samples of size %g to %g", ErrFewSizes, s.n, s.least, s.most)
	}
	f := Fit{Samples: s.n, Least: s.least, Most: s.most}
	f.Beta = s.sxy / s.sxx
	f.Alpha = s.y - f.Beta*s.x
	switch n := float64(s.n); {
	case f.Beta < 0:
		f.Linear = Linear{Alpha: s.y}
	case f.Alpha < 0:
		f.Linear = Linear{Beta: (s.sxy + n*s.x*s.y) / (s.sxx + n*s.x*s.x)}
	}
	f.R2 = s.r2(f.Linear)
	return f, nil
}

// r2 returns 1 minus the squared errors of a line over those of the mean, and not less than 0.
func (s *Samples) r2(l Linear) float64 {
	bias := s.y - l.Alpha - l.Beta*s.x
	errors := s.syy - 2*l.Beta*s.sxy + l.Beta*l.Beta*s.sxx + float64(s.n)*bias*bias
	if s.syy <= 0 {
		return 1 // all times are equal, and the line is their mean
	}
	return min(1, max(0, 1-errors/s.syy))
}
