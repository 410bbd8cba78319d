package lsh

import "github.com/switchyard-moe/switchyard/internal/mat"

// item is something to sort: by key.
type item struct {
	key uint64
	at  int32
}

// sorter sorts items by the digits of their keys, the least significant first: a tuple has few of
// them, and equal keys stay in order.
type sorter struct{ items, other []item }

// sort sorts s.items by the given number of lowest bits of their keys. No higher bits may be set.
func (s *sorter) sort(bits int) {
	s.other = mat.Reuse(s.other, len(s.items))
	for shift := 0; shift < bits; shift += 8 {
		if s.pass(shift) {
			s.items, s.other = s.other, s.items
		}
	}
}

// pass moves the items to other, sorted by the eight bits from shift on, unless all have the same
// ones.
func (s *sorter) pass(shift int) bool {
	var at [256]int32
	for _, v := range s.items {
		at[uint8(v.key>>shift)]++
	}
	sum := int32(0)
	for d, n := range at {
		if int(n) == len(s.items) {
			return false
		}
		at[d] = sum
		sum += n
	}
	for _, v := range s.items {
		d := uint8(v.key >> shift)
		s.other[at[d]] = v
		at[d]++
	}
	return true
}
