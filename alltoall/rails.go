package alltoall

// railsSteps has a block cross to the receiver's node first, to the rank that has the sender's
// position there, and then go to the receiver: traffic between nodes stays among ranks of one
// position, each over its own rail. What a rank has for a node crosses as one message, so that a
// row for several of its ranks crosses once: see distinct.go.
//
// Steps: 2. Messages between nodes, a rank: one for each other node, or for each sender that shares
// its rail if nodes differ in size. Bytes between nodes: each block once, and rows of one token
// once for each node; within: all blocks whose sender and receiver differ in position. It wins over
// direct if a node has m ranks and messages are small, since m times fewer cross, and if tokens
// have several experts on a node. (DeepEP's and NCCL's PXN; with the steps in the other order
// Tutel's 2DH, Hwang et al. 2023.)
func railsSteps(o on, rank int) []Step {
	return stepsOfHops(rank, 2, func(yield func(hop)) {
		each(o, rank, func(block Block) {
			rail := o.rail(o.node[block.To], o.local[block.From])
			yield(hop{0, block.From, rail, block})
			yield(hop{1, rail, block.To, block})
		})
	})
}

// each calls do with every block that begins or ends on rank's node, and so may pass through rank.
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
