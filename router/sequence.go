package router

import (
	"fmt"
	"slices"
	"sort"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// SequenceBalance is [Balance] computed for each sequence by itself, then averaged over the
// sequences of a token group that have tokens. [Batch.Sequences] says where they end; without it
// they are length consecutive rows, the first one starting with the group, padding included, and
// length should divide the size of groups. At length 0 a batch must say. If a bias steers the
// choice, a token counts for the k experts with its largest logits, those that it would choose
// without. Its name is "sequence". (DeepSeek-V3's sequence-wise loss; with [CountPlain] and
// [MeanLength], Megatron's seq_aux_loss.)
func SequenceBalance(coefficient float64, length int, options ...Counting) Loss {
	o, ok := join(options, CountPlain|MeanLength)
	if length < 0 || !ok {
		return Loss{name: "sequence"}
	}
	return Loss{"sequence", coefficient, sequence{length, o&CountPlain != 0, o&MeanLength != 0}}
}

type sequence struct {
	length      int
	plain, mean bool
}

func (s sequence) needs() needs {
	return needs{shares: true, tokenShares: true, sequences: s.length == 0}
}

// of returns the number of token t's sequence, in the batch or within its token group.
func (s sequence) of(g *lossGroup, t int) int {
	row := g.c.rowOf(t)
	if len(g.c.in.Sequences) > 0 {
		return sort.SearchInts(g.c.in.Sequences, row+1)
	}
	return (row - g.c.in.groupBegin(row)) / s.length
}

// end returns the end of the tokens that are in the sequence of token t.
func (s sequence) end(g *lossGroup, t int) int {
	end := t + 1
	for end < g.end && s.of(g, end) == s.of(g, t) {
		end++
	}
	return end
}

// inGroup returns the number of sequences of the token group, those of nothing but padding
// included.
func (s sequence) inGroup(g *lossGroup) int {
	in := &g.c.in
	end := in.Ends[g.group]
	begin := in.groupBegin(end - 1)
	if len(in.Sequences) == 0 {
		return (end - begin + s.length - 1) / s.length
	}
	n := 0
	for row := begin; row < end; n++ {
		row = in.Sequences[sort.SearchInts(in.Sequences, row+1)]
	}
	return n
}

// scaled returns scale times the factor of the evenness of a sequence of size tokens, one of runs
// that have tokens.
func (s sequence) scaled(scale float64, g *lossGroup, size, runs float64) float64 {
	if s.mean {
		size, runs, scale = g.tokens(), 1, scale*float64(s.inGroup(g))
	}
	return scale * g.experts() / (float64(g.k) * size * size * runs)
}

// value adds each sequence of the token group to runs, and its counts to runCounts.
func (s sequence) value(g *lossGroup) float64 {
	c, n := g.c, len(g.counts)
	sum, sequences := 0.0, 0
	for t := g.begin; t < g.end; sequences++ {
		end := s.end(g, t)
		c.runs = append(c.runs, run{t, end, g.group})
		c.runCounts = slices.Grow(c.runCounts, n)[:len(c.runCounts)+n]
		counts := c.runCounts[len(c.runCounts)-n:]
		if s.plain || c.owner.bias != nil {
			c.countPlain(counts, t, end)
		} else {
			c.countChoices(counts, t, end)
		}
		sum += s.scaled(s.evenness(c, counts, t, end), g, float64(end-t), 1)
		t = end
	}
	if s.mean {
		return sum
	}
	return sum / float64(sequences)
}

// evenness is that of the tokens [begin, end).
func (sequence) evenness(c *choices, counts []int, begin, end int) float64 {
	s := 0.0
	for t := begin; t < end; t++ {
		scores, inv := sharesOf(c.owner.scoring, c.scores.row(t), c.logits.row(t), c.row)
		for e, v := range scores {
			s += float64(float64(v) * inv * float64(counts[e]))
		}
	}
	return s
}

func (sequence) shareGrad([]float32, *lossGroup, float64) {}

func (s sequence) tokenGrad(d tokenGrad, g *lossGroup, t int, scale float64) {
	c, n := g.c, len(g.counts)
	i, _ := slices.BinarySearchFunc(c.runs, t, func(r run, t int) int { return r.end - t - 1 })
	r := c.runs[i]
	f := s.scaled(scale, g, float64(r.end-r.begin), float64(c.runsOf(g.group)))
	addCounts(d.shares, c.runCounts[i*n:(i+1)*n], f)
}

// run is one sequence: the tokens [begin, end) of a token group.
type run struct{ begin, end, group int }

// runsOf returns the number of sequences of a token group.
func (c *choices) runsOf(group int) int {
	compare := func(r run, g int) int { return r.group - g }
	first, _ := slices.BinarySearchFunc(c.runs, group, compare)
	next, _ := slices.BinarySearchFunc(c.runs, group+1, compare)
	return next - first
}

// countPlain sets counts to the number of tokens from [begin, end) of which each expert has one of
// the k largest logits.
func (c *choices) countPlain(counts []int, begin, end int) {
	clear(counts)
	c.best = mat.Reuse(c.best, c.k)
	for t := begin; t < end; t++ {
		topK(c.best, c.logits.row(t))
		for _, e := range c.best {
			counts[e]++
		}
	}
}

// countChoices sets counts to the choices of each expert by the tokens [begin, end).
func (c *choices) countChoices(counts []int, begin, end int) {
	clear(counts)
	for i := begin * c.k; i < end*c.k; i++ {
		if c.entry[i] != withdrawn {
			counts[c.chosen[i]]++
		}
	}
}

// checkSequences returns what is wrong with the ends of the sequences of a batch of rows tokens, or
// that there are none although a loss needs them.
func (g *tokenChoice) checkSequences(rows int, ends []int) error {
	if len(ends) == 0 {
		if g.needs.sequences && rows > 0 {
			return fmt.Errorf("router: SequenceBalance of length 0 goes by Batch.Sequences, which is not given for %d tokens", rows)
		}
		return nil
	}
	begin := 0
	for i, end := range ends {
		if end < begin {
			return fmt.Errorf("router: sequence %d ends at row %d, before its begin at %d", i, end, begin)
		}
		begin = end
	}
	if begin != rows {
		return fmt.Errorf("router: sequences end at row %d of %d", begin, rows)
	}
	return nil
}
