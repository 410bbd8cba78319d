package alltoall

// pairwiseSteps sends to the rank i ahead and receives from the one i behind, for i from 1 on.
//
// Steps: n−1. Messages a rank: n−1. Bytes: each block once. It wins if many messages at once
// overflow a switch or a receiver. (Thakur, Rabenseifner and Gropp 2005; MPICH's long messages.)
func pairwiseSteps(o on, rank int) []Step {
	n := o.ranks()
	steps := make([]Step, 0, n)
	for i := 1; i < n; i++ {
		to, from := (rank+i)%n, (rank+n-i)%n
		steps = append(steps, Step{
			Sends: []Bundle{{to, []Block{{rank, to}}}},
			Recvs: []Bundle{{from, []Block{{from, rank}}}},
		})
	}
	return steps
}
