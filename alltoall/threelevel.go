package alltoall

// threeLevelSteps is rails in the other order, whose first step is divided in two: to the rank of
// the sender's pair whose position is even or odd as the rail's, then from pair to pair.
//
// Steps: 3. Messages a rank, for nodes of m: 1, then m/2−1, then one for each other node. Bytes
// between nodes: each block once; within: up to twice. It wins over rails if a node has many ranks,
// or the two of a pair are nearer to each other than to the rest, as on one socket. (Of no paper:
// rails whose first step is divided as Bruck divides the whole.)
func threeLevelSteps(o on, rank int) []Step {
	return stepsOfHops(rank, 3, func(yield func(hop)) {
		each(o, rank, func(block Block) {
			node := o.node[block.From]
			rail := o.rail(node, o.local[block.To])
			position := o.local[block.From]&^1 | o.local[rail]&1
			near := block.From
			if position < len(o.members[node]) {
				near = o.members[node][position]
			}
			yield(hop{0, block.From, near, block})
			yield(hop{1, near, rail, block})
			yield(hop{2, rail, block.To, block})
		})
	})
}
