package alltoall

// leaderSteps has the first rank of each node gather what leaves the node, exchange it with the
// first ranks of the other nodes, and scatter what came. Within a node ranks send to each other in
// the first step.
//
// Steps: 3. Messages between nodes: one for each pair of them. Bytes between nodes: each block
// once; within, up to twice. With one node it is direct. It wins if messages between nodes are
// expensive and a node has few ranks. (HetuMoE, Nie et al. 2022: its 1D-hierarchical all-to-all;
// Träff and Rougier 2014.)
func leaderSteps(o on, rank int) []Step {
	return stepsOfHops(rank, 3, func(yield func(hop)) {
		each(o, rank, func(block Block) {
			a, b := o.node[block.From], o.node[block.To]
			if a == b {
				yield(hop{0, block.From, block.To, block})
				return
			}
			yield(hop{0, block.From, o.members[a][0], block})
			yield(hop{1, o.members[a][0], o.members[b][0], block})
			yield(hop{2, o.members[b][0], block.To, block})
		})
	})
}
