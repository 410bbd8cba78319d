package checkpoint_test

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

var (
	sizeMiB   = flag.Int("size", 64, "MiB of experts that TestMemory and TestRates save")
	sizeRanks = flag.Int("ranks", 8, "the number of ranks on which they do")
)

// expertsOf are a rank's experts of a model of -size MiB: 16 a rank, of three tensors each.
func expertsOf(rank int) *param.State {
	const experts = 16
	s := &param.State{}
	n := *sizeMiB << 20 / 4 / (*sizeRanks) / experts / 4
	for i := range experts {
		for j, name := range []string{"w_gate", "w_up", "w_down"} {
			data := make([]float32, n<<(j/2)) // the last one is twice as long
			for k := range data {
				data[k] = float32(k + rank)
			}
			s.Entries = append(s.Entries, param.Entry{
				Name: fmt.Sprintf("experts.%d.%s", rank*experts+i, name), Shape: []int{len(data) / 16, 16}, Data: data, Writer: true,
			})
		}
	}
	return s
}

// allocated returns the bytes that the process allocates in what all ranks do together.
func allocated(t *testing.T, do func(w *switchyard.World, rank int) error) uint64 {
	t.Helper()
	var begin, end sync.WaitGroup
	begin.Add(*sizeRanks)
	end.Add(*sizeRanks)
	var before, after runtime.MemStats
	requireNone(t, onRanks(t, *sizeRanks, func(w *switchyard.World, rank int) error {
		begin.Done()
		begin.Wait()
		if rank == 0 {
			runtime.ReadMemStats(&before)
		}
		if err := w.Comm().Barrier(t.Context()); err != nil {
			return err
		}
		err := do(w, rank)
		end.Done()
		end.Wait()
		if rank == 0 {
			runtime.ReadMemStats(&after)
		}
		return err
	}))
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemory: what a save allocates is one copy, which later saves use again, or nothing much with
// NoCopy; what a load allocates is nothing much. It counts all that is ever allocated, freed or
// not.
func TestMemory(t *testing.T) {
	const little = 1 << 20 // of a rank: buffers, names
	states, bytes := make([]*param.State, *sizeRanks), 0
	for rank := range states {
		states[rank] = expertsOf(rank)
		for _, e := range states[rank].Entries {
			bytes += 4 * len(e.Data.([]float32))
		}
	}
	dir := t.TempDir()
	requireAllocated := func(what string, copies, calls int, do func(w *switchyard.World, p checkpoint.Part) error) {
		n := allocated(t, func(w *switchyard.World, rank int) error { return do(w, checkpoint.Part{State: states[rank]}) })
		t.Logf("%s: %.3f of the state is allocated", what, float64(n)/float64(bytes))
		require.Less(t, n, uint64(copies*bytes+calls*(*sizeRanks)*little), what)
	}
	requireAllocated("three saves", 1, 3, func(w *switchyard.World, p checkpoint.Part) error {
		return saveOn(w, checkpoint.Config{Dir: dir, Keep: 1}, p, 1, 2, 3)
	})
	requireAllocated("a save without the copy", 0, 1, func(w *switchyard.World, p checkpoint.Part) error {
		return saveOn(w, checkpoint.Config{Dir: dir, Keep: 1, NoCopy: true}, p, 4)
	})
	requireAllocated("a load", 0, 1, func(w *switchyard.World, p checkpoint.Part) error {
		_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, p)
		return err
	})
}
