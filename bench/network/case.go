package network

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// expertsEach is how many experts a rank has in cases of tokens; in cases of rows it has one.
const expertsEach = 8

// networkCase is what one rank sends: rows for experts, which are tokens where token is not nil.
type networkCase struct {
	Name   string
	Bytes  int // in the mean, to each other rank
	dim    int
	each   int // experts of a rank
	counts alltoall.Counts
	token  []int32
	tokens int
	load   int // in bytes: see networkRank.load
	share  alltoall.Share
}

// skews say which share of the rows each expert gets.
var skews = map[string]func(experts int) []float64{
	"uniform": func(experts int) []float64 { return slices.Repeat([]float64{1 / float64(experts)}, experts) },
	"zipf": func(experts int) []float64 {
		share, sum := make([]float64, experts), 0.0
		for e := range share {
			share[e] = math.Pow(float64(1+e), -1.2)
			sum += share[e]
		}
		for e := range share {
			share[e] /= sum
		}
		return share
	},
	"hot": func(experts int) []float64 {
		share := slices.Repeat([]float64{0.5 / float64(experts-1)}, experts)
		share[0] = 0.5
		return share
	},
}

// cases returns those that o asks for, as one rank sees them. Its place in every row's pattern is
// rank.
func (o *options) cases(rank int) []networkCase {
	if o.K > 0 {
		return []networkCase{o.tokenCase(rank)}
	}
	var list []networkCase
	for _, size := range o.Sizes {
		for _, skew := range o.Skews {
			list = append(list, o.rowCase(skew, size))
		}
	}
	return list
}

// mostRow is how many bytes a row has at most.
const mostRow = 4096

// rowCase shares a rank's rows out over the experts of all.
func (o *options) rowCase(skew string, bytes int) networkCase {
	ranks := o.Nodes * o.Each
	c := networkCase{Name: skew, Bytes: bytes, dim: max(min(bytes, mostRow)/4, 1), each: 1}
	share := skews[skew](ranks)
	total := bytes * ranks / (4 * c.dim)
	c.counts = alltoall.Counts{Leaves: 1, Rows: apportion(total, share)}
	for _, n := range c.counts.Rows {
		c.tokens += n
	}
	c.counts.Tokens = c.tokens
	return c
}

// apportion cuts total by shares, the largest remainders rounded up.
func apportion(total int, share []float64) []int {
	n, left := make([]int, len(share)), total
	order := make([]int, len(share))
	for i, s := range share {
		n[i] = int(s * float64(total))
		left -= n[i]
		order[i] = i
	}
	rest := func(i int) float64 { return share[i]*float64(total) - float64(n[i]) }
	was := make([]float64, len(share))
	for i := range was {
		was[i] = rest(i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(was[b], was[a]) })
	for _, i := range order[:max(left, 0)] {
		n[i]++
	}
	return n
}

// tokenCase gives every token K different experts at random.
func (o *options) tokenCase(rank int) networkCase {
	ranks := o.Nodes * o.Each
	experts := ranks * expertsEach
	c := networkCase{Name: fmt.Sprint("k=", o.K), dim: o.Dim, each: expertsEach, tokens: o.Tokens, Bytes: 4 * o.Dim * o.Tokens * o.K / ranks}
	random := rand.New(rand.NewPCG(1, uint64(rank)))
	of := make([][]int32, experts)
	for t := range o.Tokens {
		for _, e := range random.Perm(experts)[:o.K] {
			of[e] = append(of[e], int32(t))
		}
	}
	c.counts = alltoall.Counts{Tokens: o.Tokens, Leaves: 1}
	for _, list := range of {
		c.counts.Rows = append(c.counts.Rows, len(list))
		c.token = append(c.token, list...)
	}
	return c
}

// crossed is how many rows leave ranks, and nodes; and how many would if each token went to a rank,
// or a node, once.
type crossed struct{ leaving, apart, rows, once int }

func (c *crossed) add(d crossed) {
	c.leaving, c.apart, c.rows, c.once = c.leaving+d.leaving, c.apart+d.apart, c.rows+d.rows, c.once+d.once
}

func (c *crossed) share() alltoall.Share {
	part := func(of, all int) float64 {
		if all == 0 {
			return 1
		}
		return float64(of) / float64(all)
	}
	return alltoall.Share{Nodes: part(c.once, c.rows), Ranks: part(c.apart, c.leaving)}
}

// crossings enumerates this rank's rows.
func (c *networkCase) crossings(o *options, rank int) (all crossed) {
	type pair struct{ token, to int }
	nodes, ranks := map[pair]bool{}, map[pair]bool{}
	at := 0
	for e, n := range c.counts.Rows {
		host := e / c.each
		for i := at; i < at+n && host != rank; i++ {
			token := i
			if c.token != nil {
				token = int(c.token[i])
			}
			all.leaving++
			ranks[pair{token, host}] = true
			if node := host / o.Each; node != rank/o.Each {
				all.rows++
				nodes[pair{token, node}] = true
			}
		}
		at += n
	}
	all.apart, all.once = len(ranks), len(nodes)
	return all
}
