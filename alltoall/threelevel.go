package alltoall

// threeLevelSteps is rails whose first step is two: to the rank of one's pair whose place is even or odd as the rail's, then from pair to
// pair.
//
// Steps: 3. Messages a rank, for nodes of m: 1, then m/2−1, then one for each other node. Bytes between nodes: each block once; within:
// up to twice. It wins over rails where a node's ranks are many, or pairs of them are nearer to each other than the rest, as on one
// socket. (No paper's: rails whose first step is cut as Bruck cuts the whole.)
func threeLevelSteps(o on, rank int) []Step {
	return gather(rank, 3, func(yield func(hop)) {
		each(o, rank, func(block Block) {
			node := o.node[block.From]
			rail := o.rail(node, o.local[block.To])
			mate := o.local[block.From]&^1 | o.local[rail]&1
			near := block.From
			if mate < len(o.members[node]) {
				near = o.members[node][mate]
			}
			yield(hop{0, block.From, near, block})
			yield(hop{1, near, rail, block})
			yield(hop{2, rail, block.To, block})
		})
	})
}
