package router

import (
	"fmt"
	"slices"
)

// Assignment is a sparse tokens × experts matrix: which expert takes which token, and the weight of
// its answer. Entries are sorted by expert and then by token, so those of one expert are
// consecutive, and so are those of the experts of one rank. No token has the same expert twice.
type Assignment struct {
	// Tokens and Experts are the matrix's dimensions.
	Tokens, Experts int
	// Ends holds, for each expert, the end of its entries; they begin where the previous expert's end.
	Ends []int
	// Token is the row of each entry.
	Token []int32
	// Weight is the factor of each entry's answer in the token's output.
	Weight []float32
}

// Of returns the half-open range of the entries of expert e.
func (a *Assignment) Of(e ExpertID) (begin, end int) {
	if e > 0 {
		begin = a.Ends[e-1]
	}
	return begin, a.Ends[e]
}

// Clone returns a copy that shares no memory with a.
func (a *Assignment) Clone() Assignment {
	c := *a
	c.Ends, c.Token, c.Weight = slices.Clone(a.Ends), slices.Clone(a.Token), slices.Clone(a.Weight)
	return c
}

// Validate reports the first breach of the rules that the type's comment states.
func (a *Assignment) Validate() error {
	if len(a.Ends) != a.Experts || len(a.Token) != len(a.Weight) {
		return fmt.Errorf("router: assignment of %d experts has %d ends, %d tokens, %d weights", a.Experts, len(a.Ends), len(a.Token), len(a.Weight))
	}
	begin := 0
	for e, end := range a.Ends {
		if end < begin || end > len(a.Token) {
			return fmt.Errorf("router: expert %d: entries end at %d, outside %d..%d", e, end, begin, len(a.Token))
		}
		previous := int32(-1)
		for _, token := range a.Token[begin:end] {
			if token <= previous || int(token) >= a.Tokens {
				return fmt.Errorf("router: expert %d: token %d after %d, of %d", e, token, previous, a.Tokens)
			}
			previous = token
		}
		begin = end
	}
	if begin != len(a.Token) {
		return fmt.Errorf("router: %d entries, of which the last %d belong to no expert", len(a.Token), len(a.Token)-begin)
	}
	return nil
}
