package tagqueue

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestQueueIsAListForEachTag compares random calls with a slice for each tag.
func TestQueueIsAListForEachTag(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[int]
		lists, length := map[transport.Tag][]*int{}, 0
		tags := rapid.IntRange(1, 3*maxScanned).Draw(t, "tags")
		for range rapid.IntRange(1, 300).Draw(t, "calls") {
			tag := transport.Tag(rapid.IntRange(0, tags-1).Draw(t, "tag"))
			l := lists[tag]
			switch rapid.IntRange(0, 5).Draw(t, "call") {
			case 0, 1, 2:
				v := new(int)
				q.Push(tag, v)
				lists[tag] = append(l, v)
				length++
			case 3:
				v := new(int)
				q.PushFront(tag, v)
				lists[tag] = append([]*int{v}, l...)
				length++
			case 4:
				if len(l) == 0 {
					require.Nil(t, q.Pop(tag))
					break
				}
				require.Same(t, l[0], q.Pop(tag))
				lists[tag] = l[1:]
				length--
			case 5:
				if len(l) == 0 {
					require.False(t, q.Remove(tag, new(int)))
					break
				}
				i := rapid.IntRange(0, len(l)-1).Draw(t, "position")
				require.True(t, q.Remove(tag, l[i]))
				require.False(t, q.Remove(tag, l[i]))
				lists[tag] = append(l[:i:i], l[i+1:]...)
				length--
			}
			require.Equal(t, length, q.Len())
		}
		for tag, l := range lists {
			for _, v := range l {
				require.Same(t, v, q.Pop(tag))
			}
			require.Nil(t, q.Pop(tag))
		}
		require.Zero(t, q.Len())
		require.Empty(t, q.lists)
	})
}

func TestQueueKeepsItsMemory(t *testing.T) {
	for _, tags := range []int{1, maxScanned, 5 * maxScanned} {
		var q Queue[int]
		values := make([]int, tags)
		require.Zero(t, alloctest.Least(3, func() {
			for i := range values {
				q.Push(transport.Tag(i), &values[i])
				q.Push(transport.Tag(i), &values[i])
			}
			for i := range values {
				q.Pop(transport.Tag(i))
				q.Remove(transport.Tag(i), &values[i])
			}
		}), "%d tags", tags)
	}
}
