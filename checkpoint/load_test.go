package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// entry is a parameter of four numbers.
func entry(name string) param.Entry {
	return param.Entry{Name: name, Shape: []int{2, 2}, Data: []float32{1, 2, 3, 4}, Writer: true}
}

func part(entries ...param.Entry) checkpoint.Part {
	return checkpoint.Part{State: &param.State{Entries: entries}}
}

// saved saves the entries of one rank, as step 5.
func saved(t *testing.T, entries ...param.Entry) (dir string) {
	t.Helper()
	dir = t.TempDir()
	requireNone(t, onRanks(t, 1, func(w *switchyard.World, _ int) error {
		return saveOn(w, checkpoint.Config{Dir: dir}, part(entries...), 5)
	}))
	return dir
}

// load loads into the entries of a single rank.
func load(t *testing.T, dir string, o checkpoint.Options, entries ...param.Entry) (info checkpoint.Info, err error) {
	t.Helper()
	err = onRanks(t, 1, func(w *switchyard.World, _ int) (err error) {
		info, err = checkpoint.Load(t.Context(), w, dir, o, part(entries...))
		return err
	})[0]
	return info, err
}

// TestEveryFaultIsListedAtOnce, in the same words on each rank, and nothing changes.
func TestEveryFaultIsListedAtOnce(t *testing.T) {
	dir := saved(t, entry("same"), entry("shape"), entry("type"), entry("extra"), entry("extra2.rank-00000-of-00002"))
	zero := func(name string, data any, shape ...int) param.Entry {
		return param.Entry{Name: name, Shape: shape, Data: data}
	}
	entries := [][]param.Entry{
		{zero("same", make([]float32, 4), 2, 2), zero("shape", make([]float32, 4), 4), zero("missing", make([]int64, 1))},
		{zero("type", make([]byte, 4), 2, 2), zero("missing", make([]int64, 1)), zero("own.rank-00001-of-00002", []int64{7}, 1)},
	}
	errs := onRanks(t, 2, func(w *switchyard.World, rank int) error {
		_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, part(entries[rank]...))
		return err
	})
	for _, err := range errs {
		require.EqualError(t, err, "checkpoint: the checkpoint "+filepath.Join(dir, "step-00000005")+` does not fit, and nothing is loaded, 4 faults:
  tensor "missing" is missing (ranks 0, 1)
  tensor "shape" is F32 of shape [2 2], want F32 of shape [4] (rank 0)
  tensor "type" is F32 of shape [2 2], want U8 of shape [2 2] (rank 1)
  tensor "extra" is in the checkpoint, but no rank has an entry for it`)
		require.NotErrorIs(t, err, checkpoint.ErrUnusable)
	}
	require.Equal(t, make([]float32, 4), entries[0][0].Data)
	require.Equal(t, []int64{7}, entries[1][2].Data)
}

// TestRanksThatSeeOtherFiles, though no Options.Local says so, are found by the digests of indexes.
func TestRanksThatSeeOtherFiles(t *testing.T) {
	dirs := []string{saved(t, entry("a")), saved(t, entry("a"), entry("b"))}
	for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		_, err := checkpoint.Load(t.Context(), w, dirs[rank], checkpoint.Options{AllowExtra: []string{"b"}}, part(entry("a")))
		return err
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "rank 1: Load: ranks disagree about the job: its index is not that of rank 0")
	}
}

// TestRanksThatAllowOthers cannot decide alike, so none does.
func TestRanksThatAllowOthers(t *testing.T) {
	dir := saved(t, entry("a"), entry("b"))
	for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		o := checkpoint.Options{AllowExtra: [][]string{nil, {"b"}}[rank]}
		_, err := checkpoint.Load(t.Context(), w, dir, o, part(entry("a")))
		return err
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, `rank 1: Load: ranks disagree about the job: it has AllowExtra=["b"], and rank 0 AllowExtra=[]`)
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	var entries []param.Entry
	for i := range 1500 {
		entries = append(entries, param.Entry{Name: fmt.Sprintf("t%04d", i), Data: []int64{0}, Shape: []int{1}})
	}
	_, err := load(t, saved(t, entry("a")), checkpoint.Options{AllowExtra: []string{"a"}}, entries...)
	require.ErrorContains(t, err, "1500 faults:\n  tensor \"t0000\" is missing (rank 0)\n")
	require.ErrorContains(t, err, "\n  and 1480 more")
	require.Len(t, strings.Split(err.Error(), "\n"), 1+20+1)
}

func TestWhatOptionsAllow(t *testing.T) {
	dir := saved(t, entry("experts.3.w"), entry("gate.w"), entry("old.bias"))
	zero := func(name string) param.Entry {
		return param.Entry{Name: name, Shape: []int{2, 2}, Data: make([]float32, 4)}
	}
	read, kept, copied, gate := zero("experts.17.w"), zero("head.w"), zero("experts.18.w"), zero("gate.w")
	o := checkpoint.Options{
		AllowMissing: []string{"nothing", "head.*"}, AllowExtra: []string{"*.bias"},
		Rename: func(name string) string {
			if ok, _ := path.Match("experts.1[78].w", name); ok {
				return "experts.3.w"
			}
			return name
		},
	}
	info, err := load(t, dir, o, read, kept, copied, gate)
	require.NoError(t, err)
	require.Equal(t, 3, info.Tensors)
	require.EqualValues(t, 3*16, info.Bytes)
	require.Equal(t, entry("").Data, read.Data)
	require.Equal(t, entry("").Data, copied.Data)
	require.Equal(t, entry("").Data, gate.Data)
	require.Equal(t, make([]float32, 4), kept.Data)

	o.AllowExtra, o.Rename = []string{"*"}, func(string) string { return "" }
	gate.Data = make([]float32, 4)
	_, err = load(t, dir, o, gate)
	require.NoError(t, err)
	require.Equal(t, make([]float32, 4), gate.Data, "it is named to keep its values")

	o.Rename, o.AllowMissing = func(name string) string { return "new." + name }, []string{"gate.*"}
	_, err = load(t, dir, o, gate)
	require.NoError(t, err, "patterns are of names of entries")
	o.AllowMissing = nil
	_, err = load(t, dir, o, gate)
	require.ErrorContains(t, err, `tensor "gate.w" ("new.gate.w" in the checkpoint) is missing (rank 0)`)

	_, err = load(t, dir, checkpoint.Options{AllowMissing: []string{"["}, AllowExtra: []string{"a", "\\"}})
	require.ErrorContains(t, err, `checkpoint: Options.AllowMissing: pattern "[": syntax error in pattern`)
	require.ErrorContains(t, err, `checkpoint: Options.AllowExtra: pattern "\\": syntax error in pattern`)
}

// TestLoaded is called once, on each part, when all ranks have read.
func TestLoaded(t *testing.T) {
	dir, calls := saved(t, entry("a")), 0
	e := param.Entry{Name: "a", Shape: []int{2, 2}, Data: make([]float32, 4)}
	p := part(e)
	p.State.Loaded = func() error {
		calls++
		require.Equal(t, entry("").Data, e.Data)
		return errors.New("a value that cannot be")
	}
	err := onRanks(t, 1, func(w *switchyard.World, _ int) error {
		_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, p)
		return err
	})[0]
	require.ErrorIs(t, err, checkpoint.ErrUnusable)
	require.ErrorContains(t, err, "a value that cannot be")
	require.Equal(t, 1, calls)
}

// TestALoadIntoAnOldState is an error if it leaves a number as it is listed, and changes nothing.
func TestALoadIntoAnOldState(t *testing.T) {
	dir := saved(t, entry("experts.0.w"))
	for name, c := range map[string]struct {
		own     string
		options checkpoint.Options
		old     bool
	}{
		"missing":       {"steps", checkpoint.Options{AllowMissing: []string{"steps"}}, true},
		"not asked for": {"steps", checkpoint.Options{Rename: func(name string) string { return map[string]string{"experts.0.w": name}[name] }}, true},
		"local":         {"depth.rank-00000-of-00002", checkpoint.Options{}, true},
		"all is read":   {"experts.0.w", checkpoint.Options{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := param.Entry{Name: "experts.0.w", Shape: []int{2, 2}, Data: make([]float32, 4)}
			p := part(w)
			if c.own != w.Name {
				p.State.Entries = append(p.State.Entries, param.Entry{Name: c.own, Data: []int64{7}})
			}
			p.State.Current = func() error { return errors.New("the state is an old one") }
			for i, do := range []func(w *switchyard.World) error{
				func(w *switchyard.World) error {
					_, err := checkpoint.Load(t.Context(), w, dir, c.options, p)
					return err
				},
				func(w *switchyard.World) error {
					_, err := checkpoint.LoadExperts(t.Context(), w, dir, p, "", map[int]int{0: 0})
					return err
				},
			} {
				clear(w.Data.([]float32))
				err := onRanks(t, 1, func(w *switchyard.World, _ int) error { return do(w) })[0]
				if !c.old && i == 0 {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, `part "": the state is an old one (rank 0)`)
				require.NotErrorIs(t, err, checkpoint.ErrUnusable)
				require.Equal(t, make([]float32, 4), w.Data)
			}
		})
	}
}

// TestCheck sees the checkpoint before anything else is compared; its error fails the load on all
// ranks.
func TestCheck(t *testing.T) {
	dir := saved(t, entry("a"))
	for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{Check: func(i checkpoint.Info) error {
			if i.Step != 5 || i.Ranks != 1 || filepath.Base(i.Path) != "step-00000005" || rank == 0 {
				return nil
			}
			return errors.New("-seed 7 here, 8 there")
		}}, part(entry("other")))
		return err
	}) {
		require.EqualError(t, err, "switchyard: rank 1: Load: -seed 7 here, 8 there")
	}
}

func TestALoadThatIsCancelled(t *testing.T) {
	dir := saved(t, entry("a"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no more time"))
	for _, err := range onRanks(t, 2, func(w *switchyard.World, _ int) error {
		_, err := checkpoint.Load(ctx, w, dir, checkpoint.Options{}, part(entry("a")))
		return err
	}) {
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, checkpoint.ErrUnusable)
	}
}
