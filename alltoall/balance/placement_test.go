package balance_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// One of two hot experts is swapped for an expert of the other rank. A layer of these Hosted and
// Order takes over the state of the one before.
func ExamplePlacing() {
	p := balance.Placing{
		Rows: []int64{9000, 8000, 1000, 2000}, Steps: 100, // of each expert
		On: []int{0, 0, 1, 1}, Room: 2,
		Row:   []int64{1e6, 1e6},   // picoseconds a row on each rank
		Bytes: 12 << 20, Byte: 800, // parameters and Adam's moments, behind 10 Gbit/s
		Within: 1000,
	}
	placed, err := p.Place()
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d ms instead of %d, for moves of %d ms\n", placed.After/1e9, placed.Before/1e9, placed.Cost/1e9)
	hosted, order := balance.Hosting(placed.On, 2)
	fmt.Println("Config.Hosted", hosted, "Config.Order", order)
	// Output:
	// 10 ms instead of 17, for moves of 10 ms
	// Config.Hosted [2 2] Config.Order [1 3 0 2]
}

// finishOf is when the last rank ends, the slow way.
func finishOf(p *balance.Placing, on []int) (last int64) {
	for r, row := range p.Row {
		rows := int64(0)
		for e, of := range on {
			if of == r {
				rows += p.Rows[e]
			}
		}
		last = max(last, rows*row)
	}
	return last
}

// leastFinish tries every placement within the bound.
func leastFinish(p *balance.Placing, on []int) int64 {
	if len(on) == len(p.Rows) {
		for r := range p.Row {
			n := 0
			for _, of := range on {
				if of == r {
					n++
				}
			}
			if p.Room > 0 && n > p.Room {
				return math.MaxInt64
			}
		}
		return finishOf(p, on)
	}
	least := int64(math.MaxInt64)
	for r := range p.Row {
		least = min(least, leastFinish(p, append(slices.Clone(on), r)))
	}
	return least
}

func randomPlacing(r *rand.Rand, experts, ranks int) *balance.Placing {
	p := &balance.Placing{Steps: 1 + r.Int64N(9), Within: 1 << 40, Fall: -1, Row: make([]int64, ranks)}
	for i := range p.Row {
		p.Row[i] = 100 + r.Int64N(100)
	}
	each := (experts + ranks - 1) / ranks
	if r.IntN(2) == 0 {
		p.Room = each + r.IntN(2)
	}
	for e := range experts {
		p.Rows, p.On = append(p.Rows, int64(1000/(1+r.IntN(20)))), append(p.On, e/each)
	}
	return p
}

// TestPlaceIsNearTheBest of all placements of tiny problems, tells the truth about its times, and
// keeps the bound.
func TestPlaceIsNearTheBest(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	sum := 0.0
	const rounds = 200
	for range rounds {
		p := randomPlacing(r, 1+r.IntN(6), 1+r.IntN(3))
		placed, err := p.Place()
		require.NoError(t, err)
		require.Equal(t, finishOf(p, p.On), placed.Before)
		require.Equal(t, finishOf(p, placed.On), placed.After)
		require.LessOrEqual(t, placed.After, placed.Before)
		hosted, order := balance.Hosting(placed.On, len(p.Row))
		if p.Room > 0 {
			require.LessOrEqual(t, slices.Max(hosted), p.Room)
		}
		require.ElementsMatch(t, order, []int{0, 1, 2, 3, 4, 5}[:len(p.Rows)])
		least := leastFinish(p, nil)
		require.LessOrEqual(t, least, placed.After, "seed %d", seed)
		require.LessOrEqual(t, float64(placed.After), 2*float64(least), "seed %d: %+v", seed, p)
		sum += float64(placed.After) / float64(least)
		again, err := p.Place()
		require.NoError(t, err)
		require.Equal(t, placed, again)
	}
	require.Less(t, sum/rounds, 1.1)
}

// TestMovesMustPay: the same moves, with each reason not to make them.
func TestMovesMustPay(t *testing.T) {
	base := balance.Placing{
		Rows: []int64{60, 50, 5, 5}, Steps: 2, On: []int{0, 0, 1, 1}, Row: []int64{10, 10}, Bytes: 7, Byte: 3, Within: 2,
	}
	placed, err := base.Place()
	require.NoError(t, err)
	require.Equal(t, balance.Placed{On: []int{0, 1, 1, 1}, Moves: 1, Before: 1100, After: 600, Cost: 21}, placed)
	for name, change := range map[string]func(p *balance.Placing){
		"links that are slow":     func(p *balance.Placing) { p.Byte = 72 },
		"no steps":                func(p *balance.Placing) { p.Within = 0 },
		"a variation that stays":  func(p *balance.Placing) { p.Fall = 900 },
		"an even load":            func(p *balance.Placing) { p.Rows = []int64{5, 5, 5, 5} },
		"no load":                 func(p *balance.Placing) { p.Rows = make([]int64, 4) },
		"a cost above all bounds": func(p *balance.Placing) { p.Bytes, p.Byte = math.MaxInt64, math.MaxInt64 },
	} {
		p := base
		change(&p)
		stay, err := p.Place()
		require.NoError(t, err)
		require.Equal(t, balance.Placed{On: p.On, Before: finishOf(&p, p.On), After: finishOf(&p, p.On)}, stay, name)
	}
}

func TestPlacingIsValidated(t *testing.T) {
	_, err := (&balance.Placing{
		Rows: []int64{-1, math.MaxInt64, 1}, On: []int{0, 3}, Row: []int64{1, -1}, Room: -1, Fall: -2,
	}).Place()
	for _, want := range []string{
		"On has 2 experts, want those of Rows, 3", "Steps is 0, want 1 or more", "Room, Bytes, Byte and Within are -1, 0, 0 and 0",
		"Fall is -2", "Row[1] is -1", "On[1] is 3, want one of the 2 ranks", "Rows[0] is -1, want 0 to", "Rows[2] is 1, want 0 to 0",
	} {
		require.ErrorContains(t, err, "balance: Placing."+want)
	}
	_, err = (&balance.Placing{Steps: 1}).Place()
	require.ErrorContains(t, err, "Row of no rank")
}

// BenchmarkPlace of 256 experts on 64 ranks.
func BenchmarkPlace(b *testing.B) {
	p := randomPlacing(rand.New(rand.NewPCG(1, 1)), 256, 64)
	for b.Loop() {
		_, err := p.Place()
		require.NoError(b, err)
	}
}
