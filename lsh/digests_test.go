package lsh

// What TestTheSameOnEveryMachine wants. They change with the definition of what is computed, and
// with nothing else.
const (
	wantDefault    = "0c8f0a29dae46e1a"
	wantHyperplane = "5ac116c2633c9c8a"
	wantRefined    = "653ddf295365ac7e"
	wantChosen     = "abe30651cbe3aa1a"
	wantControlled = "9515194877acea79"
)
