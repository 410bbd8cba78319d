package rows

// Index lists, for each token, the rows that are its own. Its memory is used again by the next Set.
type Index struct {
	ends []int32 // of each token's rows in row
	row  []int32
}

// Set makes the index of rows of which row i is token[i]'s, a number below tokens. A token's rows
// are listed in ascending order.
func (x *Index) Set(tokens int, token []int32) {
	x.ends, x.row = resize(x.ends, tokens), resize(x.row, len(token))
	clear(x.ends)
	for _, t := range token {
		x.ends[t]++
	}
	begin := int32(0)
	for t, n := range x.ends {
		x.ends[t] = begin
		begin += n
	}
	for i, t := range token { // what was a token's begin becomes its end
		x.row[x.ends[t]] = int32(i)
		x.ends[t]++
	}
}

// resize returns a slice of n elements of any value, in the memory of s where that is large enough.
func resize(s []int32, n int) []int32 {
	if cap(s) < n {
		return make([]int32, n, n+n/8)
	}
	return s[:n]
}
