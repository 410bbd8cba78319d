package experts

// Eager has a stage compute runs on several goroutines however few rows they have, if that is so.
func Eager(s *Stage, is bool) {
	if s.enough = enough; is {
		s.enough = 0
	}
}
