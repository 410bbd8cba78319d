package tree

// Subtree begins the node at p, whose sum somebody else has formed, in place of its leaves, and
// returns its vector, all zero, for the caller to write until its next call on s. It stands in for
// calls of [Sum.Leaf] with all of the node's leaves in turn, and panics where the first of those
// would.
func (s *Sum) Subtree(p Place) []float32 {
	v := s.enter(p)
	clear(v)
	return v
}
