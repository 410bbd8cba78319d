package views_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/internal/views"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// open returns the views of each of n ranks of a mesh.
func open(t *testing.T, n int) []*views.Views {
	t.Helper()
	list := make([]*views.Views, n)
	for r, tr := range inproc.New(n) {
		t.Cleanup(func() { _ = tr.Close() })
		list[r] = views.New(tr)
	}
	return list
}

// reordered returns the views of each rank in another order, by their new numbers.
func reordered(t *testing.T, list []*views.Views, order []int) []*views.Views {
	t.Helper()
	others := make([]*views.Views, len(list))
	for _, v := range list {
		n, err := v.Reordered(order)
		require.NoError(t, err)
		others[n.Rank()] = n
	}
	return others
}

// TestViewsMeetNoOthers: a message of one view is not received on the next.
func TestViewsMeetNoOthers(t *testing.T) {
	list := open(t, 2)
	var ends [2][2]transport.Transport // by view and rank
	for i := range ends {
		for r, v := range list {
			end, err := v.All()
			require.NoError(t, err)
			require.Equal(t, lockstep.StreamID(i+2), v.Next())
			ends[i][r] = end
		}
	}
	ctx := context.Background()
	for _, i := range []int{1, 0} {
		require.NoError(t, ends[i][0].Send(ctx, 1, 7, []byte{byte(i)}))
	}
	for i := range ends {
		got := make([]byte, 1)
		_, err := ends[i][1].Recv(ctx, 0, 7, got)
		require.NoError(t, err)
		require.Equal(t, byte(i), got[0])
	}
}

// TestReordered: rank i is what was rank order[i], also when ranks are reordered twice.
func TestReordered(t *testing.T) {
	list := open(t, 3)
	_, err := list[0].All()
	require.NoError(t, err)
	once := reordered(t, list[:], []int{2, 0, 1})
	require.Equal(t, lockstep.StreamID(2), once[1].Next())
	twice := reordered(t, once, []int{1, 0, 2})
	for i, v := range twice {
		require.EqualValues(t, i, v.Rank())
	}
	for r, want := range []transport.Rank{0, 2, 1} {
		require.Equal(t, want, twice[0].Joined(transport.Rank(r)))
	}
	require.Equal(t, []int{0, 1, 1}, twice[0].Nodes([]int{4, 3, 3}))
	require.Equal(t, []int{4, 3, 3}, list[0].Nodes([]int{4, 3, 3}))
	require.Nil(t, twice[0].Nodes(nil))
}

// TestAViewOfReorderedRanks connects them under their new numbers.
func TestAViewOfReorderedRanks(t *testing.T) {
	list := reordered(t, open(t, 3), []int{2, 0, 1})
	var ends [2]transport.Transport
	for i, r := range []transport.Rank{0, 2} {
		end, err := list[r].Of([]transport.Rank{0, 2})
		require.NoError(t, err)
		require.EqualValues(t, i, end.Rank())
		ends[i] = end
	}
	require.NoError(t, ends[0].Send(t.Context(), 1, 7, []byte{9}))
	got := make([]byte, 1)
	_, err := ends[1].Recv(t.Context(), 0, 7, got)
	require.NoError(t, err)
	require.Equal(t, []byte{9}, got)
	_, err = list[0].Of([]transport.Rank{0, 3})
	require.ErrorContains(t, err, "view of rank 3, outside 0..2")
}

func TestAnOrderThatIsNone(t *testing.T) {
	_, err := open(t, 3)[0].Reordered([]int{0, 1, 1})
	require.ErrorContains(t, err, "rank 1 is outside 0..2 or listed twice")
}

// TestViewsAreFew: their number travels in 16 bits.
func TestViewsAreFew(t *testing.T) {
	v := open(t, 1)[0]
	for range 1<<16 - 1 {
		_, err := v.All()
		require.NoError(t, err)
	}
	_, err := v.All()
	require.ErrorContains(t, err, "no view is left: a rank has at most 65535")
}
