package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/param"
)

// randoms are the generators of this rank's layers for -hash random, which a draw changes.
type randoms []*rand.PCG

// add makes one more.
func (r *randoms) add(seed uint64) *rand.PCG {
	g := rand.NewPCG(seed, 1)
	*r = append(*r, g)
	return g
}

// state is the state of the generators. A rank of a job of another size begins anew.
func (r randoms) state(rank, ranks int) (*param.State, error) {
	s, copies := new(param.State), make([][]byte, len(r))
	for i, g := range r {
		var err error
		if copies[i], err = g.MarshalBinary(); err != nil {
			return nil, err
		}
		s.Entries = append(s.Entries, param.Entry{
			Name: fmt.Sprintf("random%d.rank-%05d-of-%05d", i, rank, ranks), Role: param.Training,
			Shape: []int{len(copies[i])}, Data: copies[i], Writer: true, Local: true,
		})
	}
	s.Loaded = func() error {
		for i, g := range r {
			if err := g.UnmarshalBinary(copies[i]); err != nil {
				return fmt.Errorf("random%d: %w", i, err)
			}
		}
		return nil
	}
	return s, nil
}
