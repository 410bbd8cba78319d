package experts

import (
	"sync"
	"sync/atomic"
)

// parallel is a group that says on how many goroutines it computes at most, as those of package
// expert do.
type parallel interface{ Parallelism() int }

// enough is the rows times parameters of a chunk from which goroutines save more than they cost.
const enough = 1 << 22

// beside calls do for each piece of a chunk with runs: for those of different groups on several
// goroutines, as a group of one expert uses one alone, and for those of one group in turn. What
// comes out does not depend on it. All goroutines have ended when it returns.
func (s *Stage) beside(list []piece, do func(*piece)) {
	workers := min(s.workers, len(list))
	if workers <= 1 || work(list) < s.enough {
		for i := range list {
			do(&list[i])
		}
		return
	}
	var next atomic.Int64
	loop := func() {
		for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
			ofGroup(list, i, do)
		}
	}
	var others sync.WaitGroup
	for range workers - 1 {
		others.Go(loop)
	}
	loop()
	others.Wait()
}

// ofGroup calls do for all pieces of the group of the i-th, if that is its first.
func ofGroup(list []piece, i int, do func(*piece)) {
	for k := range list {
		if list[k].group != list[i].group {
			continue
		}
		if k < i {
			return
		}
		do(&list[k])
	}
}

// work is the rows times the parameters that each is multiplied by.
func work(list []piece) (n int) {
	for _, of := range list {
		if of.run != nil {
			n += of.rows * len(of.run.Value)
		} else if set := of.group.Params(); set != nil {
			n += of.rows * len(set.Value) / max(of.group.count, 1)
		}
	}
	return n
}
