package mailbox

// copyAll copies the concatenation of src over dst, which has room for it, and returns its length. The two
// may be cut at different places.
func copyAll(dst, src [][]byte) int {
	total, at := 0, 0
	for _, s := range src {
		for len(s) > 0 {
			for at == len(dst[0]) {
				dst, at = dst[1:], 0
			}
			n := copy(dst[0][at:], s)
			s, at, total = s[n:], at+n, total+n
		}
	}
	return total
}

// spread copies src over dst, which has room for it, and returns its length.
func spread(dst [][]byte, src []byte) int {
	total := len(src)
	for _, d := range dst {
		src = src[copy(d, src):]
	}
	return total
}

func sizeOf(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
