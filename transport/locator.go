package transport

// Locator is implemented by transports that know which ranks share a node: a process, or memory of
// one machine. Decorators pass it on.
type Locator interface {
	// Nodes is the number of each rank's node, from 0 on without gaps in the order of ranks, the
	// same on every rank; nil if it is not known. The caller must not change it.
	Nodes() []int
}

// NodesOf returns the number of each rank's node if t knows it, else nil. The caller must not
// change it.
func NodesOf(t Transport) []int {
	if l, ok := t.(Locator); ok {
		return l.Nodes()
	}
	return nil
}

// Nodes numbers the nodes of the members anew, from 0 on.
func (s *sub) Nodes() []int {
	world := NodesOf(s.t)
	if world == nil {
		return nil
	}
	number := make(map[int]int)
	nodes := make([]int, len(s.members))
	for i, r := range s.members {
		n, seen := number[world[r]]
		if !seen {
			n = len(number)
			number[world[r]] = n
		}
		nodes[i] = n
	}
	return nodes
}
