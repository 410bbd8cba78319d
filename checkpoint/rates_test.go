//go:build unix

package checkpoint_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/param"
)

// peer saves the same tensors with Python's safetensors, one file for each rank, and loads them. It
// prints GB/s.
const peer = `
import os, sys, time
import numpy as np
import safetensors.numpy as st
folder, ranks, n, sync = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "true"
files = [{f"experts.{r*16+i}.{w}": np.arange(n << (j // 2), dtype=np.float32) for i in range(16)
          for j, w in enumerate(["w_gate", "w_up", "w_down"])} for r in range(ranks)]
size = sum(a.nbytes for f in files for a in f.values())
os.sync()
begin = time.perf_counter()
for r, f in enumerate(files):
    path = f"{folder}/{r}.safetensors"
    st.save_file(f, path)
    if sync:
        d = os.open(path, os.O_RDONLY); os.fsync(d); os.close(d)
print(size / (time.perf_counter() - begin) / 1e9)
begin = time.perf_counter()
for r in range(ranks):
    st.load_file(f"{folder}/{r}.safetensors")
print(size / (time.perf_counter() - begin) / 1e9)
`

// TestRates measures, if -python is given: GB/s of saving and loading -size MiB of experts on
// -ranks ranks of this process, beside Python's safetensors on the same disk, in turns; and how
// long Save blocks, beside a copy of the same bytes (give as many -ranks as cores for that: Save
// begins with an all-gather, after which ranks that share a core wait for the copies of the
// others). The disk has written everything else before each one.
func TestRates(t *testing.T) {
	if *python == "" {
		t.Skip("-python names no Python")
	}
	r := rates{t: t, ours: map[string][]float64{}, theirs: map[string][]float64{}}
	for rank := range *sizeRanks {
		r.states = append(r.states, expertsOf(rank))
		for _, e := range r.states[rank].Entries {
			r.bytes += 4 * len(e.Data.([]float32))
		}
	}
	for range 5 {
		for _, sync := range []bool{true, false} {
			for _, noCopy := range []bool{true, false} {
				r.save(noCopy, sync)
			}
			r.peer(sync)
		}
		r.copy()
	}
	for _, sync := range []bool{true, false} {
		for _, noCopy := range []bool{true, false} {
			r.compare(saveName(noCopy, sync), saveName(true, sync))
		}
	}
	r.compare("load", "load")
	r.compareCopy("Save blocks", "blocked", "copy")
	r.compareCopy("The first Save, which also asks for memory, blocks", "blocked first", "first copy")
}

func saveName(noCopy, sync bool) string { return fmt.Sprintf("save, copy=%t, fsync=%t", !noCopy, sync) }

// rates are the figures of one comparison.
type rates struct {
	t            *testing.T
	states       []*param.State
	bytes        int
	ours, theirs map[string][]float64
}

func (r *rates) compare(ours, theirs string) {
	a, b := median(r.ours[ours]), median(r.theirs[theirs])
	r.t.Logf("%-30s ours %.2f GB/s, Python %.2f GB/s, ratio %.2f", ours, a, b, a/b)
}

func (r *rates) compareCopy(what, ours, copied string) {
	a, b := median(r.ours[ours]), median(r.ours[copied])
	r.t.Logf("%s %.1f ms, a copy of the bytes takes %.1f ms: ratio %.2f", what, 1e3*a, 1e3*b, a/b)
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// timed notes the seconds, or GB/s, of the rank that takes longest for do; all begin together.
func (r *rates) timed(w *switchyard.World, what string, gbps bool, do func() error) error {
	if err := w.Comm().Barrier(context.Background()); err != nil {
		return err
	}
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	took := []float64{time.Since(begin).Seconds()}
	if err := w.Comm().AllReduceFloat64(context.Background(), took, collective.Max); err != nil || w.Rank() != 0 {
		return err
	}
	if gbps {
		took[0] = float64(r.bytes) / took[0] / 1e9
	}
	r.ours[what] = append(r.ours[what], took[0])
	return nil
}

// save measures the second of two saves, and then a load.
func (r *rates) save(noCopy, sync bool) {
	dir := r.t.TempDir()
	defer func() { require.NoError(r.t, os.RemoveAll(dir)) }()
	requireNone(r.t, onRanks(r.t, *sizeRanks, func(w *switchyard.World, rank int) error {
		part := checkpoint.Part{State: r.states[rank]}
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, NoCopy: noCopy})
		if err != nil {
			return err
		}
		if !sync {
			s.SetCreate(withoutSync)
		}
		save := func(step int, what string) error {
			return r.timed(w, what, true, func() error { return errorsOf(s.Save(r.t.Context(), step, part), s.Wait(r.t.Context())) })
		}
		if err := save(1, "first"); err != nil {
			return err
		}
		if rank == 0 {
			syscall.Sync()
		}
		return errorsOf(save(2, saveName(noCopy, sync)), errorsOf(s.Close(), r.timed(w, "load", true, func() error {
			_, err := checkpoint.Load(r.t.Context(), w, dir, checkpoint.Options{}, part)
			return err
		})))
	}))
}

// copy measures how long Save blocks, and a copy of the same bytes.
func (r *rates) copy() {
	dir := r.t.TempDir()
	defer func() { require.NoError(r.t, os.RemoveAll(dir)) }()
	requireNone(r.t, onRanks(r.t, *sizeRanks, func(w *switchyard.World, rank int) error {
		part := checkpoint.Part{State: r.states[rank]}
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, Keep: 1})
		if err != nil {
			return err
		}
		for step, what := range []string{"blocked first", "blocked"} {
			if err := r.timed(w, what, false, func() error { return s.Save(r.t.Context(), step, part) }); err != nil {
				return err
			}
			if err := s.Wait(r.t.Context()); err != nil {
				return err
			}
		}
		var to []float32
		for _, what := range []string{"first copy", "copy"} {
			if err := r.timed(w, what, false, func() error {
				if to == nil {
					to = make([]float32, r.bytes/4/(*sizeRanks))
				}
				return copyAll(to, part)
			}); err != nil {
				return err
			}
		}
		return s.Close()
	}))
}

func errorsOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// copyAll copies a state into a slice.
func copyAll(to []float32, p checkpoint.Part) error {
	for _, e := range p.State.Entries {
		to = to[copy(to, e.Data.([]float32)):]
	}
	return nil
}

// unsynced is a file that is not put on the disk.
type unsynced struct{ checkpoint.File }

func (unsynced) Sync() error { return nil }

func withoutSync(path string) (checkpoint.File, error) {
	f, err := checkpoint.CreateFile(path)
	return unsynced{f}, err
}

func (r *rates) peer(sync bool) {
	dir := r.t.TempDir()
	defer func() { require.NoError(r.t, os.RemoveAll(dir)) }()
	script := filepath.Join(dir, "peer.py")
	require.NoError(r.t, os.WriteFile(script, []byte(peer), 0o600))
	n := len(r.states[0].Entries[0].Data.([]float32))
	out, err := exec.Command(*python, script, dir, fmt.Sprint(*sizeRanks), fmt.Sprint(n), fmt.Sprint(sync)).CombinedOutput()
	require.NoError(r.t, err, string(out))
	var saved, loaded float64
	_, err = fmt.Sscan(string(out), &saved, &loaded)
	require.NoError(r.t, err, string(out))
	r.theirs[saveName(true, sync)] = append(r.theirs[saveName(true, sync)], saved)
	r.theirs["load"] = append(r.theirs["load"], loaded)
}
