package router

import (
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// A key is the 32 bits of a score, turned so that larger scores have larger keys. Experts that
// choose among the tokens of all ranks find the key of the last token that they take digit by
// digit, from the highest: in each round the ranks add up how many of the tokens still in question
// have each value of the next digit. (Radix selection, with the histograms summed over ranks; cf.
// Alabi et al. 2012 for one processor.) The result is exact, and takes rounds and bytes that do not
// depend on the number of tokens.
const (
	keyBits   = 32
	digitBits = 4
	digits    = 1 << digitBits
	rounds    = keyBits / digitBits
	// wordCounts is the number of counts in one int64. Their sums stay below 2³², so none carries
	// into the next.
	wordCounts = 2
	countBits  = 64 / wordCounts
)

// keyOf returns the key of a finite score. Both zeros have the same.
func keyOf(score float32) uint32 {
	b := math.Float32bits(score + 0)
	if b>>31 != 0 {
		return ^b
	}
	return b | 1<<31
}

// ballot is the input of a search: the keys of the tokens of one range of rows, and which experts
// may choose them.
type ballot struct {
	begin, end int
	tokens     int      // of the batch
	keys       []uint32 // experts × tokens
	class      []int32  // of each token of the batch: an expert chooses among those of its own class
	experts    []int32  // class of each expert
	classes    int
	// quota returns how many of a class's tokens each of its experts takes.
	quota func(class int, tokens int64) int64
}

// search finds the tokens that each expert takes: the want largest keys, of equal ones the first in
// the order of the global batch. It is driven as [Consultation.Next] is, and keeps its memory from
// one ballot to the next.
type search struct {
	ballot
	share  Share
	round  int
	queues []queue
	words  []int64
	tied   []int // experts that take some, but not all, of the tokens with their last key
}

// queue is the search of one expert.
type queue struct {
	want       int64    // tokens to take among the candidates of all ranks
	last       uint32   // digits of the last key, as far as they are settled
	candidates []uint32 // keys of this rank's tokens that begin with them
	total      int64    // candidates of all ranks
	ties       int64    // tokens of this rank to take of those that have the last key
}

// start begins with a ballot.
func (s *search) start(b ballot, share Share) {
	s.ballot, s.share, s.round = b, share, 0
	s.queues = mat.Reuse(s.queues, len(b.experts))
	s.tied = s.tied[:0]
}

// next takes the sums of the counts that it returned last and returns the next counts, none once
// all is settled.
func (s *search) next(sums []int64) ([]int64, error) {
	s.round++
	switch {
	case s.round == 1:
		return s.population(), nil
	case s.round == 2:
		if err := s.open(sums); err != nil {
			return nil, err
		}
		return s.histogram(), nil
	case s.round < 2+rounds:
		s.settle(sums)
		return s.histogram(), nil
	case s.round == 2+rounds:
		s.settle(sums)
		return s.ownTies(), nil
	case s.round == 3+rounds && len(s.tied) > 0:
		s.breakTies(sums)
	}
	return nil, nil
}

// population counts the tokens of each class.
func (s *search) population() []int64 {
	s.words = mat.Reuse(s.words, s.classes)
	clear(s.words)
	for _, class := range s.class[s.begin:s.end] {
		if class >= 0 {
			s.words[class]++
		}
	}
	return s.words
}

// open gives each expert its candidates: all tokens of its class, or none if it takes none.
func (s *search) open(population []int64) error {
	for class, n := range population {
		if n < 0 || n >= 1<<countBits {
			return fmt.Errorf("router: %d tokens of class %d, want fewer than 2³²", n, class)
		}
	}
	for e := range s.queues {
		q, class := &s.queues[e], s.experts[e]
		total := population[class]
		*q = queue{want: min(s.quota(int(class), total), total), total: total, candidates: slices.Grow(q.candidates[:0], s.end-s.begin)}
		if q.want == 0 {
			q.total = 0
			continue
		}
		keys := s.keys[e*s.tokens : (e+1)*s.tokens]
		for t := s.begin; t < s.end; t++ {
			if s.class[t] == class {
				q.candidates = append(q.candidates, keys[t])
			}
		}
	}
	return nil
}

// shift is where the digit of this round begins.
func (s *search) shift() int { return keyBits - (s.round-1)*digitBits }

// histogram counts each expert's candidates by their next digit.
func (s *search) histogram() []int64 {
	const words = digits / wordCounts
	s.words = mat.Reuse(s.words, len(s.queues)*words)
	clear(s.words)
	shift := s.shift()
	for e, q := range s.queues {
		counts := s.words[e*words : (e+1)*words]
		for _, key := range q.candidates {
			digit := key >> shift % digits
			counts[digit/wordCounts] += 1 << (digit % wordCounts * countBits)
		}
	}
	return s.words
}

// settle finds each expert's next digit from the histograms of the round before, and keeps the
// candidates that have it.
func (s *search) settle(sums []int64) {
	const words = digits / wordCounts
	shift := s.shift() + digitBits
	for e := range s.queues {
		q := &s.queues[e]
		if q.want == 0 {
			continue
		}
		digit, counts := uint32(digits-1), sums[e*words:(e+1)*words]
		for ; digit > 0; digit-- {
			n := countOf(counts, digit)
			if n >= q.want {
				break
			}
			q.want -= n
		}
		q.last, q.total = q.last<<digitBits|digit, countOf(counts, digit)
		q.keep(digit, shift)
	}
}

func countOf(words []int64, digit uint32) int64 {
	return words[digit/wordCounts] >> (digit % wordCounts * countBits) & (1<<countBits - 1)
}

// keep drops the candidates whose digit at shift is another.
func (q *queue) keep(digit uint32, shift int) {
	n := 0 // always written and sometimes counted: no branch to predict
	for _, key := range q.candidates {
		q.candidates[n] = key
		if key>>shift%digits == digit {
			n++
		}
	}
	q.candidates = q.candidates[:n]
}

// ownTies finds the experts that cannot take all tokens with their last key, and counts those of
// this rank, at this rank's number: the sum is all ranks' counts. It is nil if there are no such
// experts.
func (s *search) ownTies() []int64 {
	for e := range s.queues {
		q := &s.queues[e]
		q.ties = int64(len(q.candidates))
		if q.want < q.total {
			s.tied = append(s.tied, e)
		}
	}
	s.words = mat.Reuse(s.words, len(s.tied)*s.share.Count)
	clear(s.words)
	for i, e := range s.tied {
		s.words[i*s.share.Count+s.share.Index] = s.queues[e].ties
	}
	return s.words
}

// breakTies gives the ranks before this one their share of the tied tokens first.
func (s *search) breakTies(sums []int64) {
	for i, e := range s.tied {
		q := &s.queues[e]
		left := q.want
		for _, n := range sums[i*s.share.Count:][:s.share.Index] {
			left -= n
		}
		q.ties = min(max(left, 0), q.ties)
	}
}

// mark sets taken, experts × tokens, for the tokens that each expert takes.
func (s *search) mark(taken []bool) {
	for e := range s.queues {
		q := &s.queues[e]
		if q.want == 0 {
			continue
		}
		keys, taken := s.keys[e*s.tokens:(e+1)*s.tokens], taken[e*s.tokens:(e+1)*s.tokens]
		ties := q.ties
		for t := s.begin; t < s.end; t++ {
			switch key := keys[t]; {
			case s.class[t] != s.experts[e] || key < q.last:
			case key > q.last:
				taken[t] = true
			case ties > 0:
				taken[t] = true
				ties--
			}
		}
	}
}
