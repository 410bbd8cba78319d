package rows

import "github.com/switchyard-moe/switchyard/internal/mat"

// Index lists, for each token, the rows that are its own. Its memory is used again by the next Set.
type Index struct {
	ends []int32 // of each token's rows in row
	row  []int32
}

// Set makes the index of rows of which row i is token[i]'s, a number below tokens. A token's rows
// are listed in ascending order.
func (x *Index) Set(tokens int, token []int32) {
	x.ends, x.row = mat.Reuse(x.ends, tokens), mat.Reuse(x.row, len(token))
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

// Renumber gives row i the number to[i]. A token's rows stay listed in the order in which they are.
func (x *Index) Renumber(to []int32) {
	for i, row := range x.row {
		x.row[i] = to[row]
	}
}
