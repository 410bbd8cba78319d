package lockstep

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// TestStreamsOfGroupsDiffer, and those of the whole job have the numbers that they are given.
func TestStreamsOfGroupsDiffer(t *testing.T) {
	seen := map[StreamID]bool{}
	for _, g := range []GroupID{0, 1, 1 << 16, 1<<48 - 1} {
		for _, n := range []uint16{0, 1, 1<<16 - 1} {
			id := g.Stream(n)
			require.False(t, seen[id])
			require.Equal(t, g, id.group())
			seen[id] = true
		}
	}
	require.Equal(t, StreamID(7), GroupID(0).Stream(7))
}

// TestOperationsOfOtherGroups: rank 0 is in an operation of a group without rank 2, and rank 2 in
// one of all. Rank 0 will go on; were rank 2 in the group, neither would.
func TestOperationsOfOtherGroups(t *testing.T) {
	const group = GroupID(5)
	a, b := New(0), New(2)
	a.Join(group)
	a.Begin(group.Stream(1), "ranks 0 1, layer 1", "Forward")
	b.Begin(1, "layer 1", "Step")
	require.NoError(t, talk(a, b, time.Hour))
	b.Join(group)
	require.ErrorIs(t, talk(a, b, time.Hour), transport.ErrOutOfStep)
}

// TestRightProgramsOfGroupsAreNeverAccused runs random programs in which each operation is of one
// of several groups, with statements at every moment. Ranks count as waiting for each other all the
// time, as if another goroutine of each did.
func TestRightProgramsOfGroupsAreNeverAccused(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	groups := [][]int{{0, 1, 2, 3}, {0, 1}, {2, 3}, {1, 2, 3}, {3, 0}}
	for range 100 {
		logs, programs := [4]*Log{}, [4][]operation{}
		for r := range logs {
			logs[r] = New(transport.Rank(r))
			for g, members := range groups {
				if slices.Contains(members, r) {
					logs[r].Join(GroupID(g))
				}
			}
		}
		counts := map[StreamID]uint64{}
		for range 40 {
			g := rng.IntN(len(groups))
			id := GroupID(g).Stream(uint16(rng.IntN(2)))
			counts[id]++
			for _, r := range groups[g] {
				programs[r] = append(programs[r], operation{stream: id, number: counts[id], name: "op"})
			}
		}
		runGroups(t, rng, logs, programs, groups)
	}
}

// runGroups runs the program of each rank: an operation ends once all of its group have begun it.
func runGroups(t *testing.T, rng *rand.Rand, logs [4]*Log, programs [4][]operation, groups [][]int) {
	var open [4]*Begun
	var at [4]int
	for unfinished := true; unfinished; {
		r, to := rng.IntN(4), rng.IntN(4)
		switch {
		case open[r] == nil && at[r] < len(programs[r]):
			b := logs[r].Begin(programs[r][at[r]].stream, "stream", "op")
			open[r] = &b
		case open[r] != nil:
			op := programs[r][at[r]]
			if !slices.ContainsFunc(groups[op.stream.group()], func(m int) bool { return !logs[m].hasBegun(op) }) {
				open[r].End(true)
				open[r] = nil
				at[r]++
			}
		}
		if r != to {
			require.NoError(t, pass(logs[r], logs[to], time.Hour))
		}
		unfinished = false
		for r := range at {
			unfinished = unfinished || at[r] < len(programs[r])
		}
	}
}
