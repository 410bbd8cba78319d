package rows

// CopyAll copies the concatenation of src over dst, which has room for it, and returns its length.
// The two may be divided differently, but must not overlap.
func CopyAll(dst, src [][]byte) int {
	total := SizeOf(src)
	past := total >= farBytes
	at := 0
	for i, s := range src {
		next := s
		if i+1 < len(src) && len(src[i+1]) > 0 {
			next = src[i+1]
		}
		for len(s) > 0 {
			for at == len(dst[0]) {
				dst, at = dst[1:], 0
			}
			n := min(len(dst[0])-at, len(s))
			if past {
				far(dst[0][at:at+n], s[:n], next)
			} else {
				copy(dst[0][at:], s[:n])
			}
			s, at = s[n:], at+n
		}
	}
	if past {
		fence()
	}
	return total
}

// SizeOf is the length of the concatenation of bufs.
func SizeOf(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// Spread copies src over dst, which has room for it, and returns its length.
func Spread(dst [][]byte, src []byte) int {
	total := len(src)
	for _, d := range dst {
		src = src[copy(d, src):]
	}
	return total
}

// Gather copies the concatenation of src to the start of dst, which has room for it, and returns
// its length.
func Gather(dst []byte, src [][]byte) int {
	total := 0
	for _, s := range src {
		total += copy(dst[total:], s)
	}
	return total
}
