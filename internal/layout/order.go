package layout

import (
	"errors"
	"fmt"
)

// Order is which expert stands at which position, where experts are counted in the order of the
// ranks that host them. What exchanges rows knows positions alone. The zero value has every expert
// at the position of its number.
type Order struct {
	expert, position []int // each other's inverse
}

// NewOrder makes an order of the experts at positions 0, 1, and so on, each of which comes once.
func NewOrder(experts []int) Order {
	o := Order{expert: experts, position: make([]int, len(experts))}
	plain := true
	for at, e := range experts {
		o.position[e] = at
		plain = plain && at == e
	}
	if plain {
		return Order{}
	}
	return o
}

// Plain tells whether every expert stands at the position of its number.
func (o Order) Plain() bool { return o.expert == nil }

// Expert is the number of the expert at a position.
func (o Order) Expert(position int) int {
	if o.Plain() || position >= len(o.expert) { // beyond them is a shared one
		return position
	}
	return o.expert[position]
}

// Position is where the expert of a number stands.
func (o Order) Position(expert int) int {
	if o.Plain() || expert >= len(o.position) {
		return expert
	}
	return o.position[expert]
}

// ByPosition returns the parts of list, as many elements for each expert, in the order of
// positions, and ByNumber the opposite. They return list itself if the order is plain.
func ByPosition[E any](o Order, list []E) []E { return arranged(list, o.expert) }

// ByNumber is the opposite of ByPosition.
func ByNumber[E any](o Order, list []E) []E { return arranged(list, o.position) }

// arranged returns the parts of list in the given order.
func arranged[E any](list []E, order []int) []E {
	if order == nil {
		return list
	}
	to := make([]E, 0, len(list))
	for _, i := range order {
		to = append(to, PartOf(list, i, len(order))...)
	}
	return to
}

// PartOf is part i of a list of equal parts.
func PartOf[E any](list []E, i, parts int) []E {
	each := len(list) / parts
	return list[i*each : (i+1)*each]
}

// CheckExperts returns what is wrong with an order, which must list each expert once, or why it
// does not go with a layer that compresses rows or rounds sums; nil is right.
func CheckExperts(order []int, experts int, compresses, rounds bool) error {
	switch {
	case len(order) == 0:
		return nil
	case compresses:
		return errors.New("Order does not go with Compression")
	case rounds:
		return errors.New("Order does not go with Sums")
	case len(order) != experts:
		return fmt.Errorf("Order has %d experts, want each of the %d once", len(order), experts)
	}
	seen := make([]bool, experts)
	for at, e := range order {
		if e < 0 || e >= experts || seen[e] {
			return fmt.Errorf("Order[%d] is %d, want each of the %d experts once", at, e, experts)
		}
		seen[e] = true
	}
	return nil
}

// CheckSlots returns why an order does not go with rows that are mixtures of tokens, slots for each
// expert; nil if they are not.
func CheckSlots(order []int, slots int) error {
	if len(order) > 0 && slots > 0 {
		return errors.New("switchyard: Config.Order does not go with Config.Router, whose rows are mixtures of tokens")
	}
	return nil
}

// Hosting is what ranks must agree on: how many experts each hosts and, if it is given, in which
// order.
func Hosting(hosted, order []int) any {
	if len(order) == 0 {
		return hosted
	}
	return [2][]int{hosted, order}
}
