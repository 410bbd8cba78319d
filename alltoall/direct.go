package alltoall

// directSteps is one step: every rank sends every other its block, all at once.
//
// Steps: 1. Messages a rank: n−1. Bytes: each block once. It wins if messages are large or ranks
// few. It is Gloo's and Open MPI's linear all-to-all. If peers read in place (inproc, shm) it is
// the one-copy algorithm: rows go from the sender's memory straight to their expert's.
func directSteps(o on, rank int) []Step {
	var s Step
	for i := 1; i < o.ranks(); i++ {
		peer := (rank + i) % o.ranks()
		s.Sends = append(s.Sends, Bundle{peer, []Block{{rank, peer}}})
		s.Recvs = append(s.Recvs, Bundle{peer, []Block{{peer, rank}}})
	}
	return []Step{s}
}
