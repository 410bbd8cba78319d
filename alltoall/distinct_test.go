package alltoall

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// crossing counts the bytes that its rank sends to other nodes.
type crossing struct {
	*inproc.Transport
	node []int
	sent *atomic.Int64
}

func (c crossing) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for _, m := range sends {
		if c.node[m.Peer] != c.node[c.Rank()] {
			c.sent.Add(int64(length(m.Bufs)))
		}
	}
	return c.Transport.Exchange(ctx, sends, recvs)
}

// topK is a routing: every token has k experts, no two the same, one leaf for all.
type topK struct {
	tokens, k, experts int
	token              []int32 // of each row, sorted by expert
	rows               []int   // of each expert
}

func newTopK(r *rand.Rand, tokens, k, experts int) topK {
	c := topK{tokens: tokens, k: k, experts: experts, rows: make([]int, experts)}
	of := make([][]int32, experts)
	for t := range tokens {
		for _, e := range r.Perm(experts)[:k] {
			of[e] = append(of[e], int32(t))
		}
	}
	for e, list := range of {
		c.rows[e] = len(list)
		c.token = append(c.token, list...)
	}
	return c
}

// crossings enumerates the rows that leave the node of a rank, and the pairs of a token and another
// node that it has an expert on.
func (c topK) crossings(place Placement, node []int, rank int) (rows, distinct int) {
	type pair struct{ token, node int }
	pairs := map[pair]bool{}
	at := 0
	for e, n := range c.rows {
		host := 0
		for e >= place.First[host+1] {
			host++
		}
		for _, t := range c.token[at : at+n] {
			if to := node[host]; to != node[rank] {
				rows++
				pairs[pair{int(t), to}] = true
			}
		}
		at += n
	}
	return rows, len(pairs)
}

// toRank counts the tokens with an expert on a rank.
func (c topK) toRank(place Placement, rank int) int {
	begin, end := place.Of(rank)
	seen := map[int32]bool{}
	at := mat.Sum(c.rows[:begin])
	for _, t := range c.token[at : at+mat.Sum(c.rows[begin:end])] {
		seen[t] = true
	}
	return len(seen)
}

// TestTokensCrossToANodeOnce holds a dispatch by Rails or Dedup against one by Direct, which sends
// every row, bit for bit, and the bytes that leave nodes against enumeration.
func TestTokensCrossToANodeOnce(t *testing.T) {
	seed := rand.Uint64()
	const each = 2
	for _, ranks := range []int{2, 4, 6, 7, 8} {
		for i, top := range topologies(ranks) {
			if len(top.Node) == 0 {
				continue
			}
			width := 5
			if (ranks+i)%2 == 1 {
				width = packBelow / 4
			}
			place := Even(each*ranks, ranks)
			want := make([]int, ranks)
			var sent [3]atomic.Int64
			for r, err := range onAll(inproc.New(ranks), func(tr transport.Transport) error {
				me := int(tr.Rank())
				random := rand.New(rand.NewPCG(seed, uint64(me)))
				tokens := random.IntN(30)
				route := newTopK(random, tokens, min(each*ranks, 1+random.IntN(6)), each*ranks)
				x := blas32.General{Rows: tokens, Cols: width, Stride: width, Data: make([]float32, width*tokens)}
				for i := range x.Data {
					x.Data[i] = random.Float32()
				}
				rows, distinct := route.crossings(place, top.Node, me)
				want[me] = 4 * width * (rows - distinct)
				var got [3][]float32
				for n, a := range []Algorithm{Direct, Rails, Dedup} {
					e, err := New(crossing{tr.(*inproc.Transport), top.Node, &sent[n]}, Config{Placement: place, Dim: width, Algorithm: a, Topology: top})
					if err != nil {
						return err
					}
					e.inPlace = n == 0
					counts := Counts{Tokens: tokens, Leaves: min(tokens, 1), Rows: route.rows[:min(tokens, 1)*len(route.rows)]}
					h, err := e.Begin(context.Background(), Request{Counts: counts, Rows: x, Token: route.token})
					if err != nil {
						return err
					}
					in, _, err := h.Dispatch(context.Background(), 0)
					if err != nil {
						return err
					}
					got[n] = slices.Clone(in.Data)
					h.Release()
				}
				if !slices.Equal(got[0], got[1]) {
					return fmt.Errorf("rails brings %v, direct %v", got[1], got[0])
				}
				if !slices.Equal(got[0], got[2]) {
					return fmt.Errorf("dedup brings %v, direct %v", got[2], got[0])
				}
				return nil
			}) {
				require.NoError(t, err, "seed %d, %d ranks, topology %d, rank %d", seed, ranks, i, r)
			}
			// There is more than rows: heads, and a number for each row.
			saved := sent[0].Load() - sent[1].Load()
			require.LessOrEqual(t, saved, int64(mat.Sum(want)), "seed %d, %d ranks, topology %d", seed, ranks, i)
		}
	}
}

// TestDistinctRowsSaveWhatEnumerationGives has rows so wide that other bytes do not count.
func TestDistinctRowsSaveWhatEnumerationGives(t *testing.T) {
	const ranks, each, width, tokens, k = 8, 2, 2048, 64, 8
	top, place := Nodes(ranks, 2), Even(each*ranks, ranks)
	var sent [3]atomic.Int64
	var all, byNode, byRank atomic.Int64
	for r, err := range onAll(inproc.New(ranks), func(tr transport.Transport) error {
		route := newTopK(rand.New(rand.NewPCG(1, uint64(tr.Rank()))), tokens, k, each*ranks)
		rows, distinct := route.crossings(place, top.Node, int(tr.Rank()))
		all.Add(int64(4 * width * rows))
		byNode.Add(int64(4 * width * distinct))
		// Each rank is a node.
		_, apartRows := route.crossings(place, []int{0, 1, 2, 3, 4, 5, 6, 7}, int(tr.Rank()))
		neighbour := route.toRank(place, int(tr.Rank())^1)
		byRank.Add(int64(4 * width * (apartRows - neighbour)))
		x := blas32.General{Rows: tokens, Cols: width, Stride: width, Data: make([]float32, width*tokens)}
		for n, a := range []Algorithm{Direct, Rails, Dedup} {
			e, err := New(crossing{tr.(*inproc.Transport), top.Node, &sent[n]}, Config{Placement: place, Dim: width, Algorithm: a, Topology: top})
			if err != nil {
				return err
			}
			counts := Counts{Tokens: tokens, Leaves: 1, Rows: route.rows}
			h, err := e.Begin(context.Background(), Request{Counts: counts, Rows: x, Token: route.token})
			if err != nil {
				return err
			}
			_, _, err = h.Dispatch(context.Background(), 0)
			if err != nil {
				return err
			}
			h.Release()
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	require.InEpsilon(t, all.Load(), sent[0].Load(), 0.01)
	require.InEpsilon(t, byNode.Load(), sent[1].Load(), 0.01)
	require.Less(t, 3*byNode.Load(), 2*all.Load(), "of 8 experts on 4 nodes, several share one")
	require.InEpsilon(t, byRank.Load(), sent[2].Load(), 0.01)
	require.Less(t, byNode.Load(), byRank.Load())
	require.Less(t, byRank.Load(), all.Load())
}

// words writes 64-bit words as the head of a bundle has them.
func words(list ...uint64) (b []byte) {
	for _, w := range list {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// headRoom is how many bytes the rank of landHead holds at most.
const headRoom = 1000

// landHead is a rank of two nodes of two that gets a bundle of two blocks, of a row for itself and
// of rows for its neighbour, whose message begins with data.
func landHead(t *testing.T, data []byte, digests bool) error {
	bundle := Rails.Steps(Nodes(4, 2), 4, 0)[0].Recvs[0]
	room := distinctHead(len(bundle.Blocks)) + inline
	if len(data) > room {
		return nil
	}
	ts := inproc.New(4)
	x, err := New(ts[0], Config{Placement: Even(4, 4), Dim: 1, Algorithm: Rails, Topology: Nodes(4, 2), MaxRelay: headRoom})
	require.NoError(t, err)
	prefix, row := make([]byte, 4), make([]byte, 4)
	x.recv(bundle.Peer, [][]byte{prefix, row})
	x.round.digests = digests
	r := &x.relay
	r.begin(x, "fuzz")
	buf := make([]byte, room)
	r.first.recvs = append(r.first.recvs, transport.Message{Peer: transport.Rank(bundle.Peer), N: copy(buf, data)})
	err = r.landDistinct(arrival{bundle: bundle, buf: buf, distinct: true})
	for _, o := range r.unpack {
		if err == nil {
			err = r.assemble(o)
		}
	}
	require.LessOrEqual(t, r.holding, headRoom)
	if err != nil {
		require.EqualValues(t, bundle.Peer, transport.CulpritOf(err))
	}
	for _, tr := range ts {
		require.NoError(t, tr.Close())
	}
	return err
}

// TestDistinctRowsAreChecked: a bundle that names a row that it does not bring, or says that there
// are more rows than may be held, is its sender's fault.
func TestDistinctRowsAreChecked(t *testing.T) {
	prefixes, row := make([]byte, 8), make([]byte, 4)
	refs := func(ids ...byte) []byte {
		b := slices.Concat(words(4, 1, 4, 2, 1), prefixes)
		for _, id := range ids {
			b = append(b, id, 0, 0, 0)
		}
		return append(b, row...)
	}
	require.NoError(t, landHead(t, refs(0, 0, 0), false))
	for says, data := range map[string][]byte{
		"row 1 of 1 distinct ones":                 refs(0, 1, 0),
		"4 distinct rows among 3":                  words(4, 1, 4, 2, 4),
		"251 rows of rank 2 for rank 1, limit 250": words(4, 1, 4, 251, 1),
	} {
		require.ErrorContains(t, landHead(t, data, false), says)
	}
}

// FuzzDistinct gives the rank at the end of a crossing what a hostile peer might send.
func FuzzDistinct(f *testing.F) {
	f.Add(words(0, 0, 0, 0, 0))
	f.Add(append(words(4, 1, 4, 2, 1), make([]byte, 8+12+4)...))
	f.Add(append(words(4, 1, 4, 2, 1), []byte{0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}...))
	f.Add(words(1<<63, 1<<62, 1, 1, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = landHead(t, data, false)
		_ = landHead(t, data, true) // what does not fit is an error later
	})
}
