package tree

// Subtree enters all leaves of the node at p at once, whose sum another [Sum] has formed, and
// returns its vector, all zero, which the caller writes before its next call on s. It panics if the
// first leaf is negative or one of the leaves has been entered since the last Reset.
func (s *Sum) Subtree(p Position) []float32 {
	v := s.enter(p)
	clear(v)
	return v
}
