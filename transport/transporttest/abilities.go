package transporttest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

var abilityClaims = []claim{
	{"Name", "a transport that describes itself has a name", 1, testName},
	{"Constant", "what a transport states about itself does not change", 2, testConstant},
	{"Allocator", "memory of the transport is sent, received into and freed like any other", 2, testAllocator},
	{"WireBytes", "WireBytes counts the payload sent to other ranks, and nothing else", 2, testWireBytes},
}

func testName(j *job) {
	d, ok := j.ranks[0].(transport.Describer)
	if !ok {
		j.Skip("it does not describe itself")
	}
	require.NotEmpty(j, d.Capabilities().Name)
}

func testWireBytes(j *job) {
	c, ok := j.ranks[0].(transport.Counter)
	if !ok {
		j.Skip("it does not count")
	}
	before := c.WireBytes()
	big, own := payload(1, 12_345), payload(2, 777)
	j.together(
		inOrder(j.send(0, 1, 1, big), j.send(0, 1, 1, nil), j.send(0, 0, 1, own), j.recv(0, 0, 1, own)),
		inOrder(j.recv(1, 0, 1, big), j.recv(1, 0, 1, nil)))
	require.EqualValues(j, len(big), c.WireBytes()-before)
	j.each(func(ctx context.Context, t transport.Transport) error { return swap(ctx, t, 2, 5000) })
	require.EqualValues(j, len(big)+5000, c.WireBytes()-before, "after an exchange")
}

func testConstant(j *job) {
	before := transport.CapabilitiesOf(j.ranks[0])
	j.together(j.works(0, 1))
	require.Equal(j, before, transport.CapabilitiesOf(j.ranks[0]))
	require.NoError(j, j.ranks[0].Close())
	require.Equal(j, before, transport.CapabilitiesOf(j.ranks[0]))
	require.Equal(j, transport.Rank(0), j.ranks[0].Rank())
	require.Equal(j, 2, j.ranks[0].Size())
}

// testAllocator uses the memory of [transport.Alloc], which may be Go's own.
func testAllocator(j *job) {
	for _, n := range []int{1, 100, 70_000, 2 << 20} {
		want := payload(uint64(n), n)
		out, in := transport.Alloc(j.ranks[0], n), transport.Alloc(j.ranks[1], n)
		require.Len(j, out, n)
		require.Len(j, in, n)
		copy(out, want)
		j.together(
			func(ctx context.Context) error { return j.ranks[0].Send(ctx, 1, 1, out[:n/2], out[n/2:]) },
			func(ctx context.Context) error {
				if _, err := j.ranks[1].Recv(ctx, 0, 1, in); err != nil {
					return err
				}
				return same(in, want)
			})
		transport.Free(j.ranks[0], out)
		transport.Free(j.ranks[1], in)
	}
	if a, ok := j.ranks[0].(transport.Allocator); ok {
		require.False(j, a.Free(make([]byte, 100)), "it is not the transport's")
	}
}
