package mat

// Sum adds up a list of integers.
func Sum(list []int) int {
	total := 0
	for _, n := range list {
		total += n
	}
	return total
}
