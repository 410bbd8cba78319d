package router

import "github.com/switchyard-moe/switchyard/internal/mat"

// auction assigns tokens to experts, one each, so that the sum of their scores is the largest
// possible while every expert gets ⌊T/E⌋ or ⌈T/E⌉ of the T tokens.
//
// Each token bids for the expert with the largest score minus price. The bid is the price at which
// the second best expert would be worth as much, plus ε. An expert has ⌈T/E⌉ slots, and its price
// is that of its cheapest slot; a bid takes the cheapest slot, raises its price, and removes the
// token that held it. After the last bid the sum is within ε for each token of the largest
// (Bertsekas 1979; equal objects: Bertsekas and Castañon 1989). Scores are integers times more than
// the number of bidders, so with ε = 1 in the last round the sum is the largest, and the bits are
// the same on all machines. ε starts large and shrinks: each round keeps the prices of the round
// before, and all holders that do not prefer another expert at the new ε.
//
// If E does not divide T, the surplus slots go to bidders without scores, at most one of them at
// each expert. So every slot has a holder, as the theorem requires, and an expert loses at most one
// token.
//
// A bid costs E steps and the logarithm of an expert's slots.
type auction struct {
	experts int
	scores  []int32    // tokens × experts, in levels
	unit    int64      // what a level is worth: more than the number of bidders
	heaps   []slotHeap // of each expert
	prices  []int64    // of each expert, as slotHeap.price has it
	queue   []int32    // bidders without a slot, the next one last; those from T on have no scores
	result  []int32    // expert of each token
}

// levels is how many steps the scores of a token group are rounded to.
const levels = 1 << 20

// slotHeap is the slots of one expert. Its price is that of the cheapest.
type slotHeap struct {
	slots    []slot // a heap, the cheapest first; vacant or held by tokens
	extra    slot   // one more, for a bidder without scores
	hasExtra bool   // whether there is one, beside the others
}

type slot struct {
	price  int64
	holder int32 // or vacant
}

const vacant = -1

// worthless is less than any value of an expert to a bidder, with room below it.
const worthless = -1 << 62

// extraFirst tells whether the extra slot is the cheapest.
func (s *slotHeap) extraFirst() bool {
	return s.hasExtra && (len(s.slots) == 0 || s.extra.price < s.slots[0].price)
}

// price is the price that a token must exceed.
func (s *slotHeap) price() int64 {
	if s.extraFirst() {
		return s.extra.price
	}
	return s.slots[0].price
}

// extraPrice is the price that a bidder without scores must exceed.
func (s *slotHeap) extraPrice() int64 {
	if s.hasExtra {
		return s.extra.price
	}
	return s.slots[0].price
}

// assign returns the expert of each token. It is valid until the next call.
func (a *auction) assign(tokens, experts int, scores func(i int) []float32) []int32 {
	a.experts = experts
	a.result = mat.Reuse(a.result, tokens)
	a.round(scores)
	a.open()
	// The first ε is of the order of the scores themselves.
	for eps := levels * a.unit / 4; ; eps = max(eps/8, 1) {
		a.restart(eps)
		for len(a.queue) != 0 {
			last := len(a.queue) - 1
			bidder := a.queue[last]
			a.queue = a.queue[:last]
			a.bid(bidder, eps)
		}
		if eps == 1 {
			break
		}
	}
	for e, s := range a.heaps {
		for _, slot := range s.slots {
			a.result[slot.holder] = int32(e)
		}
	}
	return a.result
}

// round turns scores into levels: the distance of each from its token's best, relative to the
// largest such distance of the token group. A constant added to all scores of a token does not
// change the assignment.
func (a *auction) round(scores func(i int) []float32) {
	spread := 0.0
	for i := range a.result {
		low, high := bounds(scores(i))
		spread = max(spread, float64(high)-float64(low))
	}
	a.scores = mat.Reuse(a.scores, len(a.result)*a.experts)
	if spread == 0 {
		clear(a.scores)
		return
	}
	for i := range a.result {
		line := scores(i)
		_, high := bounds(line)
		for e, v := range line {
			a.scores[i*a.experts+e] = int32(levels * ((float64(v) - float64(high)) / spread))
		}
	}
}

// bounds returns the smallest and the largest of x, of which there is at least one.
func bounds(x []float32) (low, high float32) {
	low, high = x[0], x[0]
	for _, v := range x[1:] {
		low, high = min(low, v), max(high, v)
	}
	return low, high
}

// open makes all slots vacant with a price of 0, and queues all bidders, the first token first.
func (a *auction) open() {
	each := (len(a.result) + a.experts - 1) / a.experts
	a.heaps, a.prices = mat.Reuse(a.heaps[:cap(a.heaps)], a.experts), mat.Reuse(a.prices, a.experts)
	clear(a.prices)
	for e := range a.heaps {
		s := &a.heaps[e]
		s.slots, s.hasExtra = mat.Reuse(s.slots, each), false
		for i := range s.slots {
			s.slots[i] = slot{0, vacant}
		}
	}
	bidders := each * a.experts
	a.unit = int64(bidders) + 1
	a.queue = a.queue[:0]
	for b := bidders - 1; b >= 0; b-- {
		a.queue = append(a.queue, int32(b))
	}
}

// restart begins a round: all slots of an expert but the extra one get its price, and a token that
// prefers another expert at the new ε must bid again. The extra slot keeps its price; otherwise the
// bidders without scores would have to reach it again in steps of ε.
func (a *auction) restart(eps int64) {
	cheapest := int64(-worthless)
	for e := range a.heaps {
		s := &a.heaps[e]
		price := s.price()
		for i := range s.slots {
			s.slots[i].price = price
		}
		cheapest = min(cheapest, s.extraPrice())
	}
	for e := range a.heaps {
		s := &a.heaps[e]
		for i, slot := range s.slots {
			if slot.holder != vacant && a.prefersAnother(slot.holder, e, eps) {
				a.vacate(&s.slots[i])
			}
		}
		if s.hasExtra && s.extra.price > cheapest+eps {
			a.vacate(&s.extra)
		}
	}
}

// prefersAnother tells whether another expert is worth more to a token than its own, by more than
// ε.
func (a *auction) prefersAnother(token int32, own int, eps int64) bool {
	_, value, _ := a.best(token)
	return int64(a.scoresOf(token)[own])*a.unit-a.prices[own] < value-eps
}

// vacate takes a slot from its holder, which must bid again.
func (a *auction) vacate(s *slot) {
	if s.holder != vacant {
		a.queue = append(a.queue, s.holder)
	}
	s.holder = vacant
}

// bid gives a bidder the cheapest slot of its best expert, at the price at which the second best
// would be worth as much to it, plus ε.
func (a *auction) bid(bidder int32, eps int64) {
	e, value, second := a.best(bidder)
	s := &a.heaps[e]
	more := value - second + eps
	switch {
	case int(bidder) < len(a.result) && s.extraFirst():
		a.vacate(&s.extra)
		s.slots, s.hasExtra = append(s.slots, slot{s.extra.price + more, bidder}), false
		rise(s.slots)
	case int(bidder) < len(a.result):
		a.vacate(&s.slots[0])
		s.slots[0] = slot{s.slots[0].price + more, bidder}
		sink(s.slots)
	case s.hasExtra:
		a.vacate(&s.extra)
		s.extra = slot{s.extra.price + more, bidder}
	default:
		a.vacate(&s.slots[0])
		s.extra, s.hasExtra = slot{s.slots[0].price + more, bidder}, true
		last := len(s.slots) - 1
		s.slots[0] = s.slots[last]
		s.slots = s.slots[:last]
		sink(s.slots)
	}
	a.prices[e] = s.price()
}

// best returns the expert that is worth most to a bidder, what it is worth, and what the second
// best is.
func (a *auction) best(bidder int32) (expert int, value, second int64) {
	value, second = worthless, worthless
	if int(bidder) < len(a.result) {
		for e, score := range a.scoresOf(bidder) {
			if v := int64(score)*a.unit - a.prices[e]; v > second {
				second = v
				if v > value {
					expert, value, second = e, v, value
				}
			}
		}
	} else {
		for e := range a.heaps {
			if v := -a.heaps[e].extraPrice(); v > value {
				expert, value, second = e, v, value
			} else {
				second = max(second, v)
			}
		}
	}
	if second == worthless { // there is but one expert
		second = value
	}
	return expert, value, second
}

// scoresOf returns a token's scores.
func (a *auction) scoresOf(token int32) []int32 {
	return a.scores[int(token)*a.experts:][:a.experts]
}

// sink restores a heap after the price of its root has risen.
func sink(h []slot) {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].price < h[child].price {
			child++
		}
		if h[i].price <= h[child].price {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// rise restores a heap after something was put at its end.
func rise(h []slot) {
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent].price <= h[i].price {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}
