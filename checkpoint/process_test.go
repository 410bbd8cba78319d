//go:build unix

package checkpoint_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

var kills = flag.Int("kills", 0, "how often TestKilledWhileSaving kills; 0 is 10, or 3 with -short")

// Variables of a child process.
const (
	childRank = "SWITCHYARD_TEST_RANK"
	childAddr = "SWITCHYARD_TEST_ADDR"
	childDir  = "SWITCHYARD_TEST_DIR"
	childSize = 3
)

// stepState is the state of a rank after a step: an expert and its moments of its own, and a gate
// that all have.
func stepState(ranks []int, step int) checkpoint.Part {
	s := &param.State{}
	add := func(name string, role param.Role, writer bool, n int) {
		data := filled(n, func() float32 { return float32(step) })
		s.Entries = append(s.Entries, param.Entry{Name: name, Role: role, Shape: []int{n}, Data: data, Writer: writer})
	}
	for _, r := range ranks {
		add(fmt.Sprintf("experts.%d.w", r), param.Parameter, true, 20<<10)
		add(fmt.Sprintf("optimizer.experts.%d.w.m", r), param.Training, true, 20<<10)
	}
	add("gate.w", param.Parameter, ranks[0] == 0, 1000)
	s.Entries = append(s.Entries, param.Entry{
		Name: "counters.steps", Role: param.Training, Data: []int64{int64(step)}, Writer: ranks[0] == 0,
	})
	return checkpoint.Part{State: s}
}

// resume loads the latest checkpoint of a folder, demands that all of it is of one step, and
// returns that; 0 if there is none.
func resume(w *switchyard.World, dir string, ranks []int) (int, error) {
	p := stepState(ranks, 0)
	info, err := checkpoint.Load(context.Background(), w, dir, checkpoint.Options{}, p)
	if errors.Is(err, checkpoint.ErrNone) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for i, want := range stepState(ranks, info.Step).State.Entries {
		if got := p.State.Entries[i]; fmt.Sprint(got.Data) != fmt.Sprint(want.Data) {
			return 0, fmt.Errorf("%s of step %d is of another step", got.Name, info.Step)
		}
	}
	return info.Step, nil
}

// TestChild is not a test of its own: TestKilledWhileSaving starts it as a process, which saves one
// step after the other until it or another one is killed.
func TestChild(t *testing.T) {
	rank, err := strconv.Atoi(os.Getenv(childRank))
	if err != nil {
		t.Skip("only as a child process")
	}
	w, err := switchyard.Join(context.Background(), switchyard.JoinConfig{
		Rank: transport.Rank(rank), Size: childSize, Addr: os.Getenv(childAddr), Job: "child", NoSharedMemory: true,
	})
	require.NoError(t, err)
	dir := os.Getenv(childDir)
	s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, Keep: 2})
	require.NoError(t, err)
	step, err := resume(w, dir, []int{rank})
	require.NoError(t, err)
	fmt.Println("ready", step)
	for err == nil {
		step++
		if err = errors.Join(s.Save(context.Background(), step, stepState([]int{rank}, step)), s.Wait(context.Background())); err == nil {
			fmt.Println("complete", step)
		}
	}
	fmt.Println("failed", strings.ReplaceAll(err.Error(), "\n", " "))
	_ = s.Close()
	_ = w.Close()
}

// child is a rank in a process of its own.
type child struct {
	cmd      *exec.Cmd
	lines    *bufio.Scanner
	complete int // the last step that it has reported as saved
}

func startChildren(t *testing.T, dir string) []*child {
	addr := loopback.Addr()
	children := make([]*child, childSize)
	for r := range children {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), childAddr+"="+addr, childRank+"="+strconv.Itoa(r), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		children[r] = &child{cmd: cmd, lines: bufio.NewScanner(out)}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait()
		})
	}
	for _, c := range children {
		require.True(t, c.lines.Scan())
		require.Contains(t, c.lines.Text(), "ready ")
	}
	return children
}

// follow reads what the child reports until it ends.
func (c *child) follow() {
	for c.lines.Scan() {
		_, _ = fmt.Sscanf(c.lines.Text(), "complete %d", &c.complete)
	}
}

// killed runs children that save, kills those of the given ranks at a moment of the given time
// after they are ready, and returns the last step that any has reported as saved.
func killed(t *testing.T, dir string, victims []int, after time.Duration) (complete int) {
	children := startChildren(t, dir)
	var all sync.WaitGroup
	for _, c := range children {
		all.Go(c.follow)
	}
	<-time.After(after) // a moment of saving: nothing is waited for
	for _, r := range victims {
		require.NoError(t, children[r].cmd.Process.Kill())
	}
	all.Wait()
	for _, c := range children {
		complete = max(complete, c.complete)
	}
	return complete
}

// TestKilledWhileSaving: whatever moment one rank, or all, are killed at, the last complete
// checkpoint opens, and the next save leaves no other files. -kills 200 kills more often.
func TestKilledWhileSaving(t *testing.T) {
	rounds := *kills
	if rounds == 0 {
		rounds = 10
		if testing.Short() {
			rounds = 3
		}
	}
	dir := t.TempDir()
	all := []int{0, 1, 2}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	left := 0
	for round := range rounds {
		victims := all
		if pick := rng.IntN(childSize + 1); pick < childSize {
			victims = []int{pick}
		}
		saved := killed(t, dir, victims, time.Duration(rng.IntN(60_000))*time.Microsecond)
		if _, incomplete := steps(t, dir); len(incomplete) > 0 {
			left++
		}
		requireNone(t, onRanks(t, 1, func(w *switchyard.World, _ int) error {
			step, err := resume(w, dir, all)
			if err != nil {
				return fmt.Errorf("round %d, after the death of %v: %w", round, victims, err)
			}
			if step < saved {
				return fmt.Errorf("round %d: the last checkpoint is of step %d, where %d was complete", round, step, saved)
			}
			return saveOn(w, checkpoint.Config{Dir: dir, Keep: 2}, stepState(all, step+1), step+1)
		}))
		requireOnlyComplete(t, dir)
	}
	t.Logf("%d of %d kills left an incomplete folder", left, rounds)
}

// requireOnlyComplete demands that a folder holds at most two checkpoints, whole ones, and nothing
// else.
func requireOnlyComplete(t *testing.T, dir string) {
	t.Helper()
	items, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(items), 2)
	complete, incomplete := steps(t, dir)
	require.Len(t, complete, len(items))
	require.Empty(t, incomplete)
	for _, name := range complete {
		_, err := checkpoint.Verify(filepath.Join(dir, name))
		require.NoError(t, err)
		requireNoOthers(t, filepath.Join(dir, name))
	}
}
