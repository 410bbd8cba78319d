package pipeline

import (
	"cmp"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Largest returns the largest number of chunks of an exchange with these experts that degree
// allows, and whether it is cut by ranks: if some rank has fewer experts than that. Then there are
// no more chunks than ranks. A tuner needs a power of two; a degree of 0 means 4 for it, and 1
// otherwise.
func Largest(degree int, tuned bool, at alltoall.Placement) (most int, byRanks bool) {
	most = max(degree, 1)
	if tuned {
		most = powerOfTwo(cmp.Or(degree, 4))
	}
	fewest := at.Experts()
	for r := range at.Ranks() {
		fewest = min(fewest, at.Count(r))
	}
	byRanks = fewest < most
	for byRanks && most > at.Ranks() {
		if tuned {
			most /= 2
		} else {
			most = at.Ranks()
		}
	}
	return most, byRanks
}

// powerOfTwo returns the largest power of two that is at most limit.
func powerOfTwo(limit int) int {
	n := 1
	for 2*n <= limit {
		n *= 2
	}
	return n
}
