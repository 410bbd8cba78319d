package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// saved makes a folder with checkpoints of steps 1 and 2.
func saved(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := checkpoint.NewSaver(switchyardtest.Worlds(t, 1)[0], checkpoint.Config{Dir: dir})
	require.NoError(t, err)
	state := &param.State{Entries: []param.Entry{{Name: "gate.w", Shape: []int{2, 3}, Data: make([]float32, 6), Writer: true}}}
	for step := range 2 {
		require.NoError(t, s.Save(context.Background(), step+1, checkpoint.Part{State: state}))
	}
	require.NoError(t, s.Close())
	return dir
}

func runOn(args ...string) (code int, out, problems string) {
	var o, p bytes.Buffer
	code = run(args, &o, &p)
	return code, o.String(), p.String()
}

func TestListsAndVerifies(t *testing.T) {
	dir := saved(t)
	one, two := filepath.Join(dir, "step-00000001"), filepath.Join(dir, "step-00000002")
	line := ": step 2 of 1 ranks, 1 tensors in 1 files, 24 B, as it was saved\n"
	sum := crc32.Checksum(make([]byte, 24), crc32.MakeTable(crc32.Castagnoli))
	row := fmt.Sprintf("  gate.w  F32  [2×3]                  24 B  %08x  model-00001-of-00001.safetensors\n", sum)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "step-00000003"), 0o777))
	code, out, problems := runOn(dir)
	require.Zero(t, code, problems)
	require.Equal(t, one+": step 1 of 1 ranks, 1 tensors in 1 files, 24 B, as it was saved\n"+two+line+dir+"/step-00000003: incomplete\n", out)
	code, out, problems = runOn("-tensors", two)
	require.Zero(t, code, problems)
	require.Equal(t, two+line+row, out)
	code, out, problems = runOn(filepath.Join(two, "model-00001-of-00001.safetensors"))
	require.Zero(t, code, problems)
	require.Contains(t, out, "24 B, can be read; no checksums")
}

func TestDamage(t *testing.T) {
	dir := saved(t)
	file := filepath.Join(dir, "step-00000002", "model-00001-of-00001.safetensors")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	content[len(content)-1]++
	require.NoError(t, os.WriteFile(file, content, 0o666))
	code, out, problems := runOn(dir)
	require.Equal(t, 1, code)
	require.Contains(t, out, "step 1 of 1 ranks, 1 tensors in 1 files, 24 B, as it was saved\n")
	require.Contains(t, out, "step 2 of 1 ranks, 1 tensors in 1 files, 24 B, DAMAGED\n")
	require.Contains(t, problems, "checkpoint: the checkpoint "+filepath.Dir(file)+" is damaged, 1 fault:\n  tensor \"gate.w\" of "+file+": the checksum is wrong")
}

// TestNamesOfOthers are shown as text, whatever they would do to a terminal.
func TestNamesOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{{Name: "a\x1b[2Jb\n", DType: safetensors.U8, Shape: []int{0}}})
	require.NoError(t, err)
	var file bytes.Buffer
	w, err := safetensors.NewWriter(&file, plan)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(path, file.Bytes(), 0o666))
	code, out, problems := runOn("-tensors", path)
	require.Zero(t, code, problems)
	require.Contains(t, out, "\n  a\\x1b[2Jb\\n  U8   [0] ")
}

// TestFilesOfOtherHosts are listed in the order of their names.
func TestFilesOfOtherHosts(t *testing.T) {
	dir := t.TempDir()
	switchyardtest.Run(t, 5, func(ctx context.Context, w *switchyard.World) error {
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: filepath.Join(dir, fmt.Sprint(w.Rank())), Local: true})
		require.NoError(t, err)
		state := &param.State{Entries: []param.Entry{{Name: fmt.Sprint("experts.", w.Rank()), Shape: []int{1}, Data: []float32{1}, Writer: true}}}
		require.NoError(t, s.Save(ctx, 1, checkpoint.Part{State: state}))
		return s.Close()
	})
	code, out, problems := runOn(filepath.Join(dir, "0"))
	require.Zero(t, code, problems)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 1+4)
	require.Contains(t, lines[0], "as it was saved, as far as it is here")
	for i, line := range lines[1:] {
		require.Contains(t, line, fmt.Sprintf("  model-%05d-of-00005.safetensors is at ", i+2))
	}
}

func TestNothingThere(t *testing.T) {
	dir := t.TempDir()
	code, _, problems := runOn(dir)
	require.Equal(t, 1, code)
	require.Contains(t, problems, "no such file or directory")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "step-00000003"), 0o777))
	code, _, problems = runOn(dir)
	require.Equal(t, 1, code)
	require.Equal(t, "checkpoint: "+dir+": no complete checkpoint\n", problems)
}

func TestCommandLine(t *testing.T) {
	code, out, _ := runOn("-h")
	require.Zero(t, code)
	require.Contains(t, out, "usage: go run ./examples/checkpoint [flags] DIR\n")
	require.Contains(t, out, "-tensors")
	for _, args := range [][]string{{}, {"a", "b"}, {"-x", "a"}} {
		code, _, problems := runOn(args...)
		require.Equal(t, 2, code)
		require.Contains(t, problems, "-h explains")
	}
}
