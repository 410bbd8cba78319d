package alltoall_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// perLink has a format of its own for nearly every leg and class of links.
func perLink() alltoall.Wire {
	return alltoall.Wire{
		Dispatch: alltoall.NVFP4H, Combine: alltoall.FP8, DispatchBack: alltoall.BF16,
		Within: &alltoall.Wire{Dispatch: alltoall.Int8, Combine: alltoall.BF16, CombineBack: marked{}},
	}
}

const (
	wiresDim    = 72
	wiresRanks  = 5
	wiresTokens = 4
)

// twoNodes have three ranks and two, which alternate.
func twoNodes() alltoall.Topology { return alltoall.Topology{Node: []int{0, 1, 0, 1, 0}} }

// wiresRow is token i of a rank.
func wiresRow(rank, i int) (row []float32) {
	for j := range wiresDim {
		row = append(row, float32(math.Sin(float64(rank*1000+i*100+j)))*float32(1+j%7))
	}
	return row
}

// wiresSent lists the tokens that a rank sends to each expert: some to several, some to none.
func wiresSent(rank, e int) []int32 {
	return [][]int32{{0}, {0, 2}, {1, 0}, {}, {2, 1, 0}}[(rank+e)%5]
}

// travelled is what a wire makes of rows on a leg from rank a to rank b.
func travelled(w alltoall.Wire, leg, a, b int, row []float32) []float32 {
	node := twoNodes().Node
	switch {
	case w.Within == nil:
	case a == b:
		w = alltoall.Wire{}
	case node[a] == node[b]:
		w = *w.Within
	}
	c, got := w.Legs()[leg], make([]float32, len(row))
	if err := c.Decode(got, c.Append(nil, row)); err != nil {
		panic(err)
	}
	return got
}

// times is row times k.
func timesRow(row []float32, k float32) []float32 {
	list := make([]float32, len(row))
	for i, v := range row {
		list[i] = k * v
	}
	return list
}

// course is a row on all legs, as it is after each: it is multiplied by 3, 5 and 7 in between.
func course(w alltoall.Wire, from, host, token int) (after [4][]float32) {
	row := wiresRow(from, token)
	after[0] = travelled(w, 0, from, host, row)
	after[1] = travelled(w, 1, host, from, timesRow(after[0], 3))
	after[2] = travelled(w, 2, from, host, timesRow(after[1], 5))
	after[3] = travelled(w, 3, host, from, timesRow(after[2], 7))
	return after
}

// wiresCase is how rows are given and cut.
type wiresCase struct {
	algorithm    alltoall.Algorithm
	cut          alltoall.Cut
	tokens, late bool
}

// request is that of a rank.
func (c wiresCase) request(rank int) alltoall.Request {
	r := alltoall.Request{Cut: c.cut, Late: c.late, Counts: alltoall.Counts{Tokens: wiresTokens, Leaves: 1}}
	m := blas32.General{Cols: wiresDim, Stride: wiresDim}
	for e := range 2 * wiresRanks {
		sent := wiresSent(rank, e)
		r.Counts.Rows = append(r.Counts.Rows, len(sent))
		r.Token = append(r.Token, sent...)
	}
	if c.tokens {
		for i := range wiresTokens {
			m.Data, m.Rows = append(m.Data, wiresRow(rank, i)...), m.Rows+1
		}
	} else {
		for _, t := range r.Token {
			m.Data, m.Rows = append(m.Data, wiresRow(rank, int(t))...), m.Rows+1
		}
		r.Token = nil
	}
	r.Rows = m
	return r
}

// check takes rows over all legs, and compares them after each with what the codecs make of them.
func (c wiresCase) check(ctx context.Context, x *alltoall.Exchange, rank int, w alltoall.Wire) error {
	h, err := x.Begin(ctx, c.request(rank))
	if err != nil {
		return err
	}
	defer h.Release()
	in := make([]blas32.General, h.Chunks())
	var home blas32.General
	for i := range in {
		if in[i], _, err = h.Dispatch(ctx, i); err != nil {
			return err
		}
		if err := c.arrived(h, rank, i, in[i], w, 0); err != nil {
			return err
		}
	}
	for i := range in {
		if home, err = h.Combine(ctx, i, scaled(in[i], 3)); err != nil {
			return err
		}
	}
	if err := c.returned(rank, home, w, 1); err != nil {
		return err
	}
	back := scaled(home, 5)
	for i := range in {
		if in[i], err = h.DispatchBack(ctx, i, back); err != nil {
			return err
		}
		if err := c.arrived(h, rank, i, in[i], w, 2); err != nil {
			return err
		}
	}
	for i := range in {
		if home, err = h.Combine(ctx, i, scaled(in[i], 7)); err != nil {
			return err
		}
	}
	return c.returned(rank, home, w, 3)
}

func scaled(m blas32.General, k float32) blas32.General {
	m.Data = timesRow(m.Data[:m.Rows*m.Cols], k)
	return m
}

// arrived compares the rows of a chunk that have come to a rank.
func (c wiresCase) arrived(h *alltoall.Handle, rank, chunk int, m blas32.General, w alltoall.Wire, leg int) error {
	first := 0
	if runs := h.Arriving(chunk); len(runs) > 0 {
		first = runs[0].First
	}
	for e := range h.Plan().Experts {
		for s := range wiresRanks {
			segment := h.Plan().Segment(e, s)
			if at := segment.First - first; at < 0 || at >= m.Rows {
				continue
			}
			for i, t := range wiresSent(s, 2*rank+e) {
				want := course(w, s, rank, int(t))[leg]
				got := m.Data[(segment.First-first+i)*wiresDim:][:wiresDim]
				if err := same(fmt.Sprintf("leg %d, expert %d, row %d of rank %d", leg, e, i, s), want, got); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// returned compares the rows that have come back to a rank.
func (c wiresCase) returned(rank int, m blas32.General, w alltoall.Wire, leg int) error {
	row := 0
	for e := range 2 * wiresRanks {
		for _, t := range wiresSent(rank, e) {
			want := course(w, rank, e/2, int(t))[leg]
			if err := same(fmt.Sprintf("leg %d, row %d", leg, row), want, m.Data[row*wiresDim:][:wiresDim]); err != nil {
				return err
			}
			row++
		}
	}
	if row != m.Rows {
		return fmt.Errorf("%d rows, want %d", m.Rows, row)
	}
	return nil
}

// bare hides that a transport has shared memory, so that rows are packed before they are sent.
type bare struct{ transport.Transport }

// TestEachLinkHasItsCodecs by every algorithm, whichever ranks relay a row, and in chunks.
func TestEachLinkHasItsCodecs(t *testing.T) {
	for _, a := range alltoall.Algorithms() {
		for _, cut := range []alltoall.Cut{nil, alltoall.ByExperts(2), alltoall.ByRanks(3)} {
			for _, c := range []wiresCase{{a, cut, true, false}, {a, cut, false, false}, {a, cut, false, true}} {
				for rank, err := range ranktest.Errors(t, wiresRanks, func(tr transport.Transport) error {
					if cut == nil && tr.Rank()%2 == 1 {
						tr = bare{tr}
					}
					x, err := alltoall.New(tr, wiresConfig(perLink(), a))
					if err != nil {
						return err
					}
					return c.check(t.Context(), x, int(tr.Rank()), perLink())
				}) {
					require.NoError(t, err, "%v, %T, %+v, rank %d", a, cut, c, rank)
				}
			}
		}
	}
}

func wiresConfig(w alltoall.Wire, a alltoall.Algorithm) alltoall.Config {
	return alltoall.Config{Placement: alltoall.Even(2*wiresRanks, wiresRanks), Dim: wiresDim, Wire: w, Algorithm: a, Topology: twoNodes()}
}

// TestTheWireOfAnExchangeChanges for what begins afterwards: passes that are open keep theirs.
func TestTheWireOfAnExchangeChanges(t *testing.T) {
	wires := []alltoall.Wire{{}, perLink(), alltoall.Everywhere(alltoall.Int4), perLink(), {Within: &alltoall.Wire{Combine: alltoall.FP8}}}
	c := wiresCase{alltoall.Dedup, nil, true, false}
	for rank, err := range ranktest.Errors(t, wiresRanks, func(tr transport.Transport) error {
		ctx, rank := t.Context(), int(tr.Rank())
		x, err := alltoall.New(tr, wiresConfig(alltoall.Everywhere(alltoall.BF16), alltoall.Dedup))
		if err != nil {
			return err
		}
		early := x.Pass(100)
		for i, w := range wires {
			if err := x.SetWire(w); err != nil {
				return err
			}
			if err := c.check(ctx, x, rank, w); err != nil {
				return fmt.Errorf("wire %d: %w", i, err)
			}
			p := x.Pass(uint64(i))
			if err := c.check(ctx, p, rank, w); err != nil {
				return fmt.Errorf("pass of wire %d: %w", i, err)
			}
			p.End()
		}
		return c.check(ctx, early, rank, alltoall.Everywhere(alltoall.BF16))
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestAWireThatCannotBeSet changes nothing.
func TestAWireThatCannotBeSet(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 1, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim})
		require.NoError(t, err)
		err = x.SetWire(alltoall.Wire{Within: &alltoall.Wire{Combine: alltoall.Format(99), Finite: true}})
		require.ErrorContains(t, err, "rank 0: set wire: alltoall: Wire.Within.Combine is Format(99), want one of")
		require.ErrorContains(t, err, "Wire.Within has Within or Finite, want codecs alone")
		require.ErrorContains(t, x.Pass(1).SetWire(alltoall.Wire{}), "set wire of pass 1: of a pass, want the exchange")
		h, err := x.Begin(t.Context(), alltoall.Request{Counts: alltoall.Counts{Tokens: 1, Leaves: 1, Rows: []int{0}}})
		require.NoError(t, err)
		err = x.SetWire(alltoall.Wire{})
		require.ErrorIs(t, err, alltoall.ErrOrder)
		require.ErrorContains(t, err, "1 handles have not been released")
		h.Release()
		h.Release()
		return x.SetWire(alltoall.Everywhere(alltoall.FP8))
	}))
	require.Equal(t, "{Dispatch:float32 Combine:fp8 DispatchBack:float32 CombineBack:float32 "+
		"Within:{Dispatch:bf16 Combine:float32 DispatchBack:float32 CombineBack:float32 Finite:false} Finite:true}",
		alltoall.Wire{Combine: alltoall.FP8, Within: &alltoall.Wire{Dispatch: alltoall.BF16}, Finite: true}.String())
}
