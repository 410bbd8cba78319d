package checkpoint_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

var python = flag.String("python", "", "a Python that has safetensors and numpy: TestRates runs, beside it")

// peer saves and loads the same tensors with Python's safetensors, one file for each rank.
const peer = `
import os, sys, time
import numpy as np
import safetensors.numpy as st
folder, ranks, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
files = [{f"experts.{r*16+i}.{w}": np.arange(n << (j // 2), dtype=np.float32) for i in range(16)
          for j, w in enumerate(["w_gate", "w_up", "w_down"])} for r in range(ranks)]
size = sum(a.nbytes for f in files for a in f.values())
for sync in [False, True]:
    begin = time.perf_counter()
    for r, f in enumerate(files):
        path = f"{folder}/{r}{sync}.safetensors"
        st.save_file(f, path)
        if sync:
            d = os.open(path, os.O_RDONLY); os.fsync(d); os.close(d)
    print(size / (time.perf_counter() - begin) / 1e9)
begin = time.perf_counter()
for r in range(ranks):
    st.load_file(f"{folder}/{r}True.safetensors")
print(size / (time.perf_counter() - begin) / 1e9)
`

// TestRates measures, if -python is given: GB/s of saving and loading -size MiB of experts on 8
// ranks of this process, beside Python's safetensors on the same disk, in turns; and how long Save
// blocks, beside a copy of the same bytes.
func TestRates(t *testing.T) {
	if *python == "" {
		t.Skip("-python names no Python")
	}
	states, bytes := make([]*param.State, sizeRanks), 0
	for rank := range states {
		states[rank] = expertsOf(rank)
		for _, e := range states[rank].Entries {
			bytes += 4 * len(e.Data.([]float32))
		}
	}
	ours, theirs := map[string][]float64{}, map[string][]float64{}
	for range 5 {
		dir := t.TempDir()
		measureOurs(t, dir, states, bytes, ours)
		require.NoError(t, os.RemoveAll(dir))
		dir = t.TempDir()
		measurePeer(t, dir, states, theirs)
		require.NoError(t, os.RemoveAll(dir))
	}
	theirs["save, no copy, fsync"] = theirs["save, fsync"]
	for _, what := range []string{"save, fsync", "save, no fsync", "save, no copy, fsync", "load"} {
		a, b := median(ours[what]), median(theirs[what])
		t.Logf("%-20s ours %.2f GB/s, Python %.2f GB/s, ratio %.2f", what, a, b, a/b)
	}
	t.Logf("Save blocks %.1f ms (the first time %.1f), a copy of the bytes takes %.1f ms: ratio %.2f", 1e3*median(ours["blocked"]),
		1e3*median(ours["blocked first"]), 1e3*median(ours["copy"]), median(ours["blocked"])/median(ours["copy"]))
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func measureOurs(t *testing.T, dir string, states []*param.State, bytes int, into map[string][]float64) {
	note := func(what string, begin time.Time, gbps bool) {
		v := time.Since(begin).Seconds()
		if gbps {
			v = float64(bytes) / v / 1e9
		}
		into[what] = append(into[what], v)
	}
	together := func(w *switchyard.World, rank int, do func() error, done func(begin time.Time)) error {
		if err := w.Comm().Barrier(context.Background()); err != nil {
			return err
		}
		begin := time.Now()
		if err := do(); err != nil {
			return err
		}
		if err := w.Comm().Barrier(context.Background()); err != nil {
			return err
		}
		if rank == 0 {
			done(begin)
		}
		return nil
	}
	requireNone(t, onRanks(sizeRanks, func(w *switchyard.World, rank int) error {
		part := checkpoint.Part{State: states[rank]}
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		if err != nil {
			return err
		}
		copyOf := make([]float32, bytes/4/sizeRanks)
		steps := []func() error{
			func() error {
				return together(w, rank, func() error { return s.Save(t.Context(), 1, part) }, func(b time.Time) { note("blocked first", b, false) })
			},
			func() error { return s.Wait(t.Context()) },
			func() error {
				return together(w, rank, func() error { return s.Save(t.Context(), 2, part) }, func(b time.Time) { note("blocked", b, false) })
			},
			func() error { return s.Wait(t.Context()) },
			func() error {
				return together(w, rank, func() error { return copyAll(copyOf, part) }, func(time.Time) {})
			},
			func() error {
				return together(w, rank, func() error { return copyAll(copyOf, part) }, func(b time.Time) { note("copy", b, false) })
			},
			func() error {
				save := func() error { return errorsOf(s.Save(t.Context(), 3, part), s.Wait(t.Context())) }
				return together(w, rank, save, func(b time.Time) { note("save, fsync", b, true) })
			},
			func() error {
				s.SetCreate(withoutSync)
				save := func() error { return errorsOf(s.Save(t.Context(), 4, part), s.Wait(t.Context())) }
				return together(w, rank, save, func(b time.Time) { note("save, no fsync", b, true) })
			},
			func() error {
				direct, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, NoCopy: true})
				if err != nil {
					return err
				}
				save := func() error { return direct.Save(t.Context(), 5, part) }
				return together(w, rank, save, func(b time.Time) { note("save, no copy, fsync", b, true) })
			},
			func() error {
				load := func() error {
					_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, part)
					return err
				}
				return together(w, rank, load, func(b time.Time) { note("load", b, true) })
			},
			s.Close,
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
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

func measurePeer(t *testing.T, dir string, states []*param.State, into map[string][]float64) {
	script := filepath.Join(dir, "peer.py")
	require.NoError(t, os.WriteFile(script, []byte(peer), 0o600))
	n := len(states[0].Entries[0].Data.([]float32))
	out, err := exec.Command(*python, script, dir, fmt.Sprint(sizeRanks), fmt.Sprint(n)).CombinedOutput()
	require.NoError(t, err, string(out))
	for i, line := range strings.Fields(string(out)) {
		var v float64
		_, err := fmt.Sscan(line, &v)
		require.NoError(t, err, string(out))
		what := []string{"save, no fsync", "save, fsync", "load"}[i]
		into[what] = append(into[what], v)
	}
}
