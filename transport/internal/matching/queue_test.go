package matching

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// pushed is a queue with one value for each of n tags.
func pushed(n int) (*queue[int], []*node[int]) {
	q := new(queue[int])
	var nodes []*node[int]
	for tag := range n {
		q.push(transport.Tag(tag), 0, new(int))
		nodes = append(nodes, q.first(transport.Tag(tag)))
	}
	return q, nodes
}

// TestTableFollowsTheTagsAtATime: tags that have come and gone take no room, and as many as there
// are at a time have a bucket each on average.
func TestTableFollowsTheTagsAtATime(t *testing.T) {
	q, _ := pushed(0)
	for tag := range transport.Tag(100 * minBuckets) {
		q.push(tag, 0, new(int))
		q.pop(q.first(tag))
	}
	require.Len(t, q.buckets, minBuckets)
	q, _ = pushed(100 * minBuckets)
	require.Len(t, q.buckets, 128*minBuckets)
}

// TestSpareNodesKeepNothing: a value that has left the queue can be collected, and so can nodes
// beyond a bound.
func TestSpareNodesKeepNothing(t *testing.T) {
	q, nodes := pushed(maxSpare + 5)
	for first := range 2 { // so that a node has others on both sides
		for i := 1 - first; i < len(nodes); i += 2 {
			q.pop(nodes[i])
		}
	}
	spares := 0
	for n := q.spare; n != nil; n = n.next {
		require.Nil(t, n.value)
		require.Nil(t, n.older)
		require.Nil(t, n.newer)
		spares++
	}
	require.Equal(t, maxSpare, spares)
	for tag := range transport.Tag(maxSpare + 5) {
		q.push(tag, 0, new(int))
	}
	require.Nil(t, q.spare)
	require.Zero(t, q.spares)
}
