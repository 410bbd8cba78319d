package alltoall

// Dedup has the steps of Direct. In a dispatch each message is the distinct rows for a rank and a
// number for each of its rows, as those of [Rails] are for a node: a token with several experts on
// a rank travels there once. Answers come back one by one.
//
// Steps: 1, and one for the heads. Messages a rank: n−1, and as many heads. Bytes: those of direct,
// less the rows that would repeat: with n ranks and k choices at random, about n·(1−(1−1/n)^k) of k
// rows remain. It wins if experts are few and choices many, as the all-gather dispatchers of
// Megatron-Core and vLLM, which send every token to every rank; this one sends a token only to the
// ranks that need it.

// deduplicates reports whether bundle b, which this rank sends or receives, carries each row once:
// both ends find the same.
func (r *relay) deduplicates(b Bundle) bool {
	switch x := r.x; {
	case !x.round.dedup:
		return false
	case x.now == Dedup:
		return true
	default:
		return x.now == Rails && r.nodes[b.Peer] != r.nodes[x.rank()]
	}
}
