package autotune

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/schedule"
)

// trial is the steps that this rank timed in a number of chunks: the forward and backward pass of
// each.
type trial struct {
	chunks int
	last   int // the step that the last of steps is
	steps  [][2]OpSeconds
}

// sample returns where the times of a pass of a step belong.
func (of *trial) sample(step int, pass schedule.Pass) *OpSeconds {
	if len(of.steps) == 0 || of.last != step {
		of.last, of.steps = step, append(of.steps, [2]OpSeconds{})
	}
	return &of.steps[len(of.steps)-1][pass]
}

// add adds the times of the operations of a run.
func (s *OpSeconds) add(line schedule.Timeline) {
	for i, span := range line.Spans {
		took := span.End - span.Start
		switch line.Graph.Tasks[i].Op {
		case schedule.Dispatch:
			s.Dispatch += took
		case schedule.Combine:
			s.Combine += took
		case schedule.Shared:
			s.Shared += took
		case schedule.GradReduce:
			s.Background += took
			s.Collectives++
		case schedule.Weights:
			s.Weights += took
		default:
			s.Experts += took
		}
	}
}

// sum takes the median step, and its mean over the ranks. Of whole steps it takes the slowest
// rank's: the others wait for it.
func (of *trial) sum(ctx context.Context, cfg *Config) (DegreeSeconds, error) {
	d := DegreeSeconds{Chunks: of.chunks, Steps: len(of.steps)}
	var fields []*float64
	for pass := range of.steps[0] {
		median := d.of(schedule.Pass(pass))
		*median = of.median(schedule.Pass(pass))
		fields = append(fields, median.fields()...)
	}
	words := make([]float32, len(fields), len(fields)+len(of.steps)*cfg.Ranks)
	for i, f := range fields {
		words[i] = float32(*f)
	}
	words = of.appendSteps(words, cfg.Rank, cfg.Ranks)
	if err := cfg.Comm.AllReduce(ctx, words); err != nil {
		return d, err
	}
	for i, f := range fields {
		*f = float64(words[i]) / float64(cfg.Ranks)
	}
	d.Slowest = slowestStep(words[len(fields):], cfg.Ranks)
	return d, nil
}

// appendSteps appends the time of each step on this rank, among zeros for the other ranks, so that
// the sum over the ranks has the times of all.
func (of *trial) appendSteps(words []float32, rank, ranks int) []float32 {
	for _, step := range of.steps {
		all := make([]float32, ranks)
		all[rank] = float32(step[schedule.Forward].Whole + step[schedule.Backward].Whole)
		words = append(words, all...)
	}
	return words
}

// slowestStep returns the median over the steps of the time of the slowest rank, from the sum of
// what appendSteps returned on each rank.
func slowestStep(words []float32, ranks int) float64 {
	var slowest []float32
	for of := range slices.Chunk(words, ranks) {
		slowest = append(slowest, slices.Max(of))
	}
	slices.Sort(slowest)
	return float64(slowest[len(slowest)/2])
}

// median returns the median over the steps of each time of a pass.
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
