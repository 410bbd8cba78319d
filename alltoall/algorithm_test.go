package alltoall

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// topologies are those that tests go through, of the given number of ranks: one node, a node a
// rank, even and uneven nodes, and nodes whose ranks are not consecutive.
func topologies(ranks int) []Topology {
	apart := Topology{Node: make([]int, ranks)}
	for r := range apart.Node {
		apart.Node[r] = r % min(3, ranks)
	}
	return []Topology{{}, Nodes(ranks, 1), Nodes(ranks, 2), Nodes(ranks, 3), apart}
}

// TestStepsBringEveryBlockHome simulates the steps of every algorithm: each rank expects what the
// other sends, no rank sends what it does not have, and at the end all blocks are at their
// receivers.
func TestStepsBringEveryBlockHome(t *testing.T) {
	for _, ranks := range []int{1, 2, 3, 4, 6, 7, 8, 13} {
		for i, top := range topologies(ranks) {
			for _, a := range Algorithms() {
				t.Run(fmt.Sprintf("%s/%d/%d", a, ranks, i), func(t *testing.T) { walk(t, a, top, ranks) })
			}
		}
	}
}

func walk(t *testing.T, a Algorithm, top Topology, ranks int) {
	at := map[Block]int{}
	plans := make([][]Step, ranks)
	for r := range ranks {
		plans[r] = a.Steps(top, ranks, r)
		require.Len(t, plans[r], len(plans[0]))
		for to := range ranks {
			at[Block{r, to}] = r
		}
	}
	for s := range plans[0] {
		type way struct{ from, to int }
		sent, moved := map[way][]Block{}, map[Block]int{}
		for r := range ranks {
			for _, b := range plans[r][s].Sends {
				require.NotContains(t, sent, way{r, b.Peer}, "two bundles at once")
				sent[way{r, b.Peer}] = b.Blocks
				for _, block := range b.Blocks {
					require.Equal(t, r, at[block], "step %d: rank %d sends %v", s, r, block)
					moved[block] = b.Peer
				}
			}
		}
		for r := range ranks {
			for _, b := range plans[r][s].Recvs {
				require.Equal(t, sent[way{b.Peer, r}], b.Blocks, "step %d: from %d to %d", s, b.Peer, r)
				delete(sent, way{b.Peer, r})
			}
		}
		require.Empty(t, sent)
		for block, to := range moved {
			at[block] = to
		}
	}
	for block, r := range at {
		require.Equal(t, block.To, r, "%v", block)
	}
}

// exchangeAll has every rank send each other a message whose length and content depend on both, for
// several rounds.
func exchangeAll(t transport.Transport, a Algorithm, top Topology, size func(from, to, round int) int) error {
	x, err := New(t, Config{Placement: Even(t.Size(), t.Size()), Dim: 1, Algorithm: a, Topology: top})
	if err != nil {
		return err
	}
	fill := func(from, to, round int) []byte {
		b := make([]byte, size(from, to, round))
		for i := range b {
			b[i] = byte(from*31 + to*7 + round + i)
		}
		return b
	}
	for round := range 3 {
		x.seq++
		x.now = a
		x.round.begin()
		got := map[int][]byte{}
		for p := range x.size() {
			if p == x.rank() {
				continue
			}
			out := fill(x.rank(), p, round)
			if len(out) > 0 {
				x.send(p, [][]byte{out[:len(out)/3], nil, out[len(out)/3:]})
			}
			got[p] = make([]byte, size(p, x.rank(), round))
			if n := len(got[p]); n > 0 {
				x.recv(p, [][]byte{got[p][:n/2], got[p][n/2:]})
			}
		}
		if err := x.run(context.Background(), "test"); err != nil {
			return err
		}
		x.round.end()
		for p, b := range got {
			if want := fill(p, x.rank(), round); string(want) != string(b) {
				return fmt.Errorf("round %d: %d bytes from %d to %d are not what was sent", round, len(want), p, x.rank())
			}
		}
	}
	return nil
}

// TestAlgorithmsMoveTheBytes of uneven, empty and skewed messages, shorter and longer than those
// that travel with their lengths.
func TestAlgorithmsMoveTheBytes(t *testing.T) {
	sizes := map[string]func(from, to, round int) int{
		"small":  func(from, to, round int) int { return (from*5 + to*3 + round) % 4 * 10 },
		"large":  func(from, to, round int) int { return (from+to+round)%3*inline + from },
		"skewed": func(_, to, round int) int { return map[bool]int{true: 3 * inline, false: 0}[to == round] },
		"empty":  func(int, int, int) int { return 0 },
	}
	for _, ranks := range []int{1, 2, 3, 4, 6, 7, 8} {
		for i, top := range topologies(ranks) {
			for _, a := range Algorithms() {
				for name, size := range sizes {
					for r, err := range onAll(inproc.New(ranks), func(t transport.Transport) error { return exchangeAll(t, a, top, size) }) {
						require.NoError(t, err, "%s, %d ranks, topology %d, %s, rank %d", a, ranks, i, name, r)
					}
				}
			}
		}
	}
}

// TestMessagesAtTheLimit: two nodes of two, between which a bundle holds as many bytes as travel
// with their lengths, or one less or more.
func TestMessagesAtTheLimit(t *testing.T) {
	for _, a := range []Algorithm{Leader, Rails, Bruck} {
		for more := range 3 {
			size := func(from, to, _ int) int {
				if from == 0 && to == 3 {
					return inline + more - 1
				}
				return 0
			}
			synctest.Test(t, func(t *testing.T) { // which notices if a rank waits for ever
				for r, err := range onAll(inproc.New(4), func(t transport.Transport) error { return exchangeAll(t, a, Nodes(4, 2), size) }) {
					require.NoError(t, err, "%s, rank %d, %d bytes", a, r, inline+more-1)
				}
			})
		}
	}
}

func onAll(ts []*inproc.Transport, do func(t transport.Transport) error) []error {
	errs, done := make([]error, len(ts)), make(chan struct{})
	for r, t := range ts {
		go func() {
			errs[r] = do(t)
			done <- struct{}{}
		}()
	}
	for range ts {
		<-done
	}
	for _, t := range ts {
		t.Close()
	}
	return errs
}

// TestRelayBelievesNoLength sends a rank that relays what a hostile one might send.
func TestRelayBelievesNoLength(t *testing.T) {
	top := Nodes(4, 2)
	lengths := func(n ...uint64) []byte {
		var b []byte
		for _, v := range n {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		return b
	}
	for says, message := range map[string][]byte{
		"7 bytes, lengths of 3 blocks take 24": make([]byte, 7),
		"limit 100 of 100":                     lengths(0, 101, 0),
		"24 bytes with lengths of 100":         lengths(0, 100, 0),
		"limit 40 of 100":                      lengths(0, 60, 41),
		"25 bytes with lengths of 2":           append(lengths(0, 1, 1), 0),
		"26 bytes with lengths of 1":           append(lengths(0, 0, 1), 0, 0),
		"5 bytes of rank 1, announced 0":       lengths(5, 0, 0),
	} {
		ts := inproc.New(4)
		x, err := New(ts[0], Config{Placement: Even(4, 4), Dim: 1, Algorithm: Leader, Topology: top, MaxRelay: 100})
		require.NoError(t, err)
		x.seq, x.now = 1, Leader
		x.round.begin()
		require.NoError(t, ts[1].Send(context.Background(), 0, 1, message))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = x.run(ctx, "test")
		cancel()
		require.ErrorContains(t, err, says)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err), says)
		for _, tr := range ts {
			tr.Close()
		}
	}
}

func TestAlgorithmNames(t *testing.T) {
	for a := range Algorithm(NumAlgorithms) {
		got, err := ParseAlgorithm(a.String())
		require.NoError(t, err)
		require.Equal(t, a, got)
	}
	require.Equal(t, "Algorithm(8)", Algorithm(NumAlgorithms).String())
	require.Equal(t, "Algorithm(-1)", Algorithm(-1).String())
	_, err := ParseAlgorithm("teleport")
	require.ErrorContains(t, err, `no algorithm "teleport", want one of auto, direct`)
	require.ErrorContains(t, Algorithm(99).Validate(), "Algorithm is 99, want 0 to 7")
	require.ErrorContains(t, Algorithm(NumAlgorithms).Validate(), "Algorithm is 8, want 0 to 7")
	require.NoError(t, Algorithm(NumAlgorithms-1).Validate())
	require.ErrorContains(t, Algorithm(-1).Validate(), "Algorithm is -1, want 0 to 7")
}

func TestTopologyFaults(t *testing.T) {
	require.NoError(t, Topology{}.Validate(5))
	require.ErrorContains(t, Topology{Node: []int{0}}.Validate(2), "topology of 1 ranks, want 2")
	require.ErrorContains(t, Topology{Node: []int{0, -1}}.Validate(2), "rank 1 on node -1, want 0 to 1 without gaps")
	require.ErrorContains(t, Topology{Node: []int{0, 2, 2}}.Validate(3), "no rank on node 1")
	require.ErrorContains(t, Topology{Node: []int{math.MaxInt, 0}}.Validate(2), "rank 0 on node")
}
