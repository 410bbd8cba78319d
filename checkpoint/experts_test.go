package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/param"
)

// TestLoadExperts: expert 3 of another layer becomes experts 17 and 18, which are on two ranks; the
// rest stays.
func TestLoadExperts(t *testing.T) {
	other := part(entry("experts.3.w"), entry("experts.4.w"), entry("gate.w"), entry("any/name"), entry("optimizer.experts.3.w.m"))
	other.Name = "layers.2"
	dir := t.TempDir()
	requireNone(t, onRanks(t, 1, func(w *switchyard.World, _ int) error {
		return saveOn(w, checkpoint.Config{Dir: dir}, other, 1)
	}))
	zero := func(name string, role param.Role) param.Entry {
		return param.Entry{Name: name, Role: role, Shape: []int{2, 2}, Data: make([]float32, 4)}
	}
	parts := make([]checkpoint.Part, 2)
	requireNone(t, onRanks(t, 2, func(w *switchyard.World, rank int) error {
		mine := fmt.Sprintf("experts.%d.", 17+rank)
		parts[rank] = part(zero(mine+"w", 0), zero("experts.3.w", 0), zero("gate.w", 0), zero("optimizer."+mine+"w.m", 1), zero("experts.017.w", 0))
		parts[rank].Name = "mine"
		info, err := checkpoint.LoadExperts(t.Context(), w, dir, parts[rank], "layers.2", map[int]int{17: 3, 18: 3})
		if err == nil && info.Tensors != 1 {
			return fmt.Errorf("%+v", info)
		}
		return err
	}))
	for _, p := range parts {
		for i, e := range p.State.Entries {
			want := make([]float32, 4)
			if i == 0 {
				want = entry("").Data.([]float32)
			}
			require.Equal(t, want, e.Data, e.Name)
		}
	}
	for name, c := range map[string]struct {
		from    string
		experts [2]map[int]int
		none    int // the rank whose part has no state
		want    string
	}{
		"another layer": {"layers.3", [2]map[int]int{{17: 3}, {17: 3}}, -1, `1 fault:
  tensor "mine.experts.17.w" ("layers.3.experts.3.w" in the checkpoint) is missing (rank 0)`},
		"nobody's experts": {"layers.2", [2]map[int]int{{41: 4, 18: 3, 40: 4}, {41: 4, 18: 3, 40: 4}}, -1, `2 faults:
  expert 40 is held by no rank
  expert 41 is held by no rank`},
		"ranks want others": {"layers.2", [2]map[int]int{{17: 3}, {18: 3}}, -1, "rank 1: Load: ranks disagree about the job: it has experts map[18:3], and rank 0 experts map[17:3]"},
		"no state":          {"layers.2", [2]map[int]int{{17: 3}, {17: 3}}, 1, `part 0 ("mine") has no State`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
				p := parts[rank]
				if rank == c.none {
					p.State = nil
				}
				_, err := checkpoint.LoadExperts(t.Context(), w, dir, p, c.from, c.experts[rank])
				return err
			}) {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

// write writes a file as other programs do.
func write(t *testing.T, path string, tensors map[string][]byte) {
	t.Helper()
	var list []safetensors.Tensor
	for name, data := range tensors {
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.U8, Shape: []int{len(data)}})
	}
	plan, err := safetensors.NewPlan(map[string]string{"format": "pt"}, list)
	require.NoError(t, err)
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := safetensors.NewWriter(f, plan)
	require.NoError(t, err)
	for _, x := range plan.Tensors() {
		require.NoError(t, w.Write(x.Name, tensors[x.Name]))
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
}

// TestFilesOfOtherPrograms: a folder with an index, one with a single file, and a file by its name.
func TestFilesOfOtherPrograms(t *testing.T) {
	sharded, single := t.TempDir(), t.TempDir()
	write(t, filepath.Join(sharded, "one.safetensors"), map[string][]byte{"a": {1, 2}})
	write(t, filepath.Join(sharded, "two.safetensors"), map[string][]byte{"b": {3}})
	index := safetensors.Index{TotalSize: 3, WeightMap: map[string]string{"a": "one.safetensors", "b": "two.safetensors"}}
	text, err := index.JSON()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(sharded, "model.safetensors.index.json"), text, 0o666))
	write(t, filepath.Join(single, "model.safetensors"), map[string][]byte{"a": {1, 2}, "b": {3}})

	for _, path := range []string{sharded, single, filepath.Join(single, "model.safetensors")} {
		a, b := param.Entry{Name: "a", Shape: []int{2}, Data: make([]byte, 2)}, param.Entry{Name: "b", Shape: []int{1}, Data: make([]byte, 1)}
		info, err := load(t, path, checkpoint.Options{}, a, b)
		require.NoError(t, err)
		require.Equal(t, checkpoint.Info{Path: path, Tensors: 2, Bytes: 3}, info)
		require.Equal(t, []byte{1, 2}, a.Data)
		require.Equal(t, []byte{3}, b.Data)
		report, err := checkpoint.Verify(path)
		require.NoError(t, err)
		require.Len(t, report.Tensors, 2)
		require.Zero(t, report.Ranks)
	}
	_, err = load(t, filepath.Join(single, "model.safetensors", "x"), checkpoint.Options{})
	require.Error(t, err)
	_, err = load(t, "", checkpoint.Options{})
	require.ErrorContains(t, err, "dir is empty, want a folder")
}
