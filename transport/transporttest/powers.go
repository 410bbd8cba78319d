package transporttest

import (
	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

var powerClaims = []claim{
	{"Name", "a transport that describes itself has a name", 1, testName},
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
}
