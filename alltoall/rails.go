package alltoall

// railsSteps has a block cross its own node first, to the rank with the receiver's place there, and then go to the receiver: traffic
// between nodes stays among ranks of one place, each over its own rail.
//
// Steps: 2. Messages between nodes, a rank: one for each other node, or for each receiver that shares its rail where nodes differ in
// size. Bytes between nodes: each block once; within: all of what the place does not match already. It wins over direct where a node has
// m ranks and messages are small: m times fewer cross. (Tutel's 2DH, Hwang et al. 2023; DeepSpeed-MoE, Rajbhandari et al. 2022; NCCL's PXN.)
func railsSteps(o on, rank int) []Step {
	return gather(rank, 2, func(yield func(hop)) {
		each(o, rank, func(block Block) {
			rail := o.rail(o.node[block.From], o.local[block.To])
			yield(hop{0, block.From, rail, block})
			yield(hop{1, rail, block.To, block})
		})
	})
}

// each calls do with every block that begins or ends on rank's node, and may so come by it.
func each(o on, rank int, do func(Block)) {
	mine := o.node[rank]
	var all []int
	for r := range o.ranks() {
		all = append(all, r)
	}
	for from := range all {
		tos := o.members[mine]
		if o.node[from] == mine {
			tos = all
		}
		for _, to := range tos {
			if from != to {
				do(Block{from, to})
			}
		}
	}
}
