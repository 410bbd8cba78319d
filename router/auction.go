package router

import "github.com/switchyard-moe/switchyard/internal/mat"

// auction assigns tokens to experts, one each, so that the sum of their scores is the largest that
// there is while every expert gets ⌊T/E⌋ or ⌈T/E⌉ of the T tokens.
//
// Each token bids for the expert that is worth most to it after its price: as much as the second
// best would leave it, and ε on top. An expert has ⌈T/E⌉ slots, and its price is that of its
// cheapest; a bid takes the cheapest slot, makes it dearer, and sends away who held it. The last
// bid leaves a sum within ε for each token of the best (Bertsekas 1979; equal objects: Bertsekas
// and Castañon 1989). Scores are integers times more than there are bidders, so with ε = 1 at the
// end it is the best, and its bits are the same everywhere. ε starts large and shrinks: each round
// keeps the prices of the one before, and all holders that are content at the new ε.
//
// Where E does not divide T, as many bidders without scores as there are slots too many want a slot
// too, but no two of one expert. So every slot finds a holder, as the theorem asks, and an expert
// loses one token at most.
//
// A bid costs E steps and the logarithm of an expert's slots.
type auction struct {
	experts int
	scores  []int32 // tokens × experts, in levels
	unit    int64   // what a level is worth: more than the number of bidders
	shelves []shelf // of each expert
	prices  []int64 // of each expert, as shelf.price has it
	queue   []int32 // bidders without a slot, the next one last; those from T on have no scores
	result  []int32 // expert of each token
}

// levels is how many steps the scores of a token group are rounded to.
const levels = 1 << 20

// shelf is the slots of one expert. Its price is that of the cheapest.
type shelf struct {
	slots []slot // a heap, the cheapest first; vacant or held by tokens
	apart slot   // the one for a bidder without scores
	split bool   // whether there is one, beside the others
}

type slot struct {
	price  int64
	holder int32 // or vacant
}

const vacant = -1

// worthless is less than any value of a bidder, and leaves room below it.
const worthless = -1 << 62

// apartFirst tells whether the slot apart is the cheapest.
func (s *shelf) apartFirst() bool {
	return s.split && (len(s.slots) == 0 || s.apart.price < s.slots[0].price)
}

// price is what a token must outbid.
func (s *shelf) price() int64 {
	if s.apartFirst() {
		return s.apart.price
	}
	return s.slots[0].price
}

// entrance is what a bidder without scores must outbid.
func (s *shelf) entrance() int64 {
	if s.split {
		return s.apart.price
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
		a.dismiss(eps)
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
	for e, s := range a.shelves {
		for _, slot := range s.slots {
			a.result[slot.holder] = int32(e)
		}
	}
	return a.result
}

// round turns scores into levels: how far each is below its token's best, in the largest such
// distance of the token group. What all scores of a token have in common does not change who should
// get it.
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

// open puts vacant slots without a price on the shelves, and queues all bidders, the first token to
// bid first.
func (a *auction) open() {
	each := (len(a.result) + a.experts - 1) / a.experts
	a.shelves, a.prices = mat.Reuse(a.shelves[:cap(a.shelves)], a.experts), mat.Reuse(a.prices, a.experts)
	clear(a.prices)
	for e := range a.shelves {
		s := &a.shelves[e]
		s.slots, s.split = mat.Reuse(s.slots, each), false
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

// dismiss begins a round: all slots of an expert that tokens may hold get its price, and a token
// that is not content at that price with the new ε must bid again. A separate slot keeps its price;
// otherwise the bidders without scores would have to reach it again in steps of ε.
func (a *auction) dismiss(eps int64) {
	cheapest := int64(-worthless)
	for e := range a.shelves {
		s := &a.shelves[e]
		price := s.price()
		for i := range s.slots {
			s.slots[i].price = price
		}
		cheapest = min(cheapest, s.entrance())
	}
	for e := range a.shelves {
		s := &a.shelves[e]
		for i, slot := range s.slots {
			if slot.holder != vacant && a.discontent(slot.holder, e, eps) {
				a.vacate(&s.slots[i])
			}
		}
		if s.split && s.apart.price > cheapest+eps {
			a.vacate(&s.apart)
		}
	}
}

// discontent tells whether another expert is worth more to a token than its own, by more than ε.
func (a *auction) discontent(token int32, own int, eps int64) bool {
	_, value, _ := a.best(token)
	return int64(a.scoresOf(token)[own])*a.unit-a.prices[own] < value-eps
}

// vacate takes a slot from its holder, who must bid again.
func (a *auction) vacate(s *slot) {
	if s.holder != vacant {
		a.queue = append(a.queue, s.holder)
	}
	s.holder = vacant
}

// bid gives a bidder the cheapest slot of his best expert, at the price at which the second best
// would be worth as much to him, and ε more.
func (a *auction) bid(bidder int32, eps int64) {
	e, value, second := a.best(bidder)
	s := &a.shelves[e]
	more := value - second + eps
	switch {
	case int(bidder) < len(a.result) && s.apartFirst():
		a.vacate(&s.apart)
		s.slots, s.split = append(s.slots, slot{s.apart.price + more, bidder}), false
		rise(s.slots)
	case int(bidder) < len(a.result):
		a.vacate(&s.slots[0])
		s.slots[0] = slot{s.slots[0].price + more, bidder}
		sink(s.slots)
	case s.split:
		a.vacate(&s.apart)
		s.apart = slot{s.apart.price + more, bidder}
	default:
		a.vacate(&s.slots[0])
		s.apart, s.split = slot{s.slots[0].price + more, bidder}, true
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
		for e := range a.shelves {
			if v := -a.shelves[e].entrance(); v > value {
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

// sink restores a heap after its root has become dearer.
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
