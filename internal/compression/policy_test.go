package compression

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
)

// TestPolicy is that of rank 1 of four on nodes of two: rank 0 is near, the others behind a link
// that two share.
func TestPolicy(t *testing.T) {
	const rows, bytes = 1000, 4 * 4096
	at := func(between float64) *policy {
		links := links.Links{Within: links.Link{Beta: 0.1}, Between: links.Link{Beta: between}}
		return newPolicy(links, alltoall.Nodes(4, 2), 1, alltoall.Even(8, 4))
	}
	far := []bool{false, false, true, true}
	p := at(5) // 0.8 Gb/s for each of two: 131 ms for four exchanges
	p.update(bytes, 0.2)
	require.False(t, p.enabled(), "before the cost is known")
	probes := 0
	for range 10 {
		if p.shouldProbe() {
			probes++
			p.recordProbe(rows, 10*time.Millisecond)
		}
		p.update(bytes, 0.2)
	}
	require.Equal(t, 1, probes)
	require.True(t, p.enabled(), "131 ms saved at a cost of 30")
	require.Equal(t, far, p.yes, "not those of its own node")
	require.False(t, p.wants(3), "an expert of rank 1")
	require.True(t, p.wants(4), "an expert of rank 2")
	p.recordPass(rows, 150*time.Millisecond)
	p.update(bytes, 0.2)
	require.False(t, p.enabled(), "the true cost is more")
	p.recordPass(rows, 110*time.Millisecond)
	p.update(bytes, 0.2)
	require.False(t, p.enabled(), "too close to begin")
	p.recordPass(rows, 50*time.Millisecond)
	p.update(bytes, 0.2)
	require.Equal(t, far, p.yes)
	p.recordPass(rows, 110*time.Millisecond)
	p.update(bytes, 0.2)
	require.True(t, p.enabled(), "not so close as to end")
	p.update(bytes, 0.9)
	require.False(t, p.enabled(), "little is saved")
	fast := at(0.05)
	fast.recordProbe(rows, 10*time.Millisecond)
	fast.update(bytes, 0.2)
	require.False(t, fast.enabled(), "80 Gb/s")
}

// TestLinksOfAPolicy are those of the configuration, the same in both directions, that between
// nodes shared by a node's ranks.
func TestLinksOfAPolicy(t *testing.T) {
	links := links.Links{Within: links.Link{Beta: 1}, Between: links.Link{Beta: 10}}
	at := func(rank int) []float64 {
		return newPolicy(links, alltoall.Nodes(4, 2), rank, alltoall.Even(4, 4)).perByte
	}
	require.Equal(t, []float64{0, 1e-9, 20e-9, 20e-9}, at(0))
	require.Equal(t, []float64{20e-9, 20e-9, 1e-9, 0}, at(3))
	one := newPolicy(links, alltoall.Topology{}, 1, alltoall.Even(4, 2))
	require.Equal(t, []float64{1e-9, 0}, one.perByte, "all ranks are on one node")
}

// TestProbesAreRare once the cost is known.
func TestProbesAreRare(t *testing.T) {
	p := newPolicy(links.Links{}, alltoall.Topology{}, 0, alltoall.Even(2, 2))
	p.recordProbe(10, time.Millisecond)
	passes := 1
	for !p.shouldProbe() {
		passes++
	}
	require.Equal(t, probeWait+1, passes)
	p.recordProbe(0, time.Second)
	require.InDelta(t, 3e-4, p.perRow, 1e-9, "a probe of no rows says nothing")
}
