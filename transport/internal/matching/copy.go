package matching

// spread copies src over dst, which has room for it, and returns its length.
func spread(dst [][]byte, src []byte) int {
	total := len(src)
	for _, d := range dst {
		src = src[copy(d, src):]
	}
	return total
}
