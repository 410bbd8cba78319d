package switchyardtest

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/transport"
)

// RunProcesses runs do on n ranks, each a process of its own. It is [Config.RunProcesses] of the
// zero Config.
func RunProcesses(t *testing.T, n int, do func(ctx context.Context, w *switchyard.World) error) {
	t.Helper()
	Config{}.RunProcesses(t, n, do)
}

// RunProcesses runs do on n ranks, each a process that runs this test binary again, with this test
// alone, and meets the others over c.Transport. The processes come to this call as the test has,
// so what stands before it runs in each of them too, and what follows it only here. They share no
// memory with the test: do gets files and the like by c.Env, and tells the test what it has found
// by files.
//
// A process fails as a rank of [Config.Run] does. Then all others are ended; their output goes to
// the log of the test, each line after its rank. The test also fails if a process ends without an
// error before do has: it skips the test before this call, calls os.Exit, or finds no test of this
// name, which must be the same every time. A test calls RunProcesses once; give each of several
// calls a subtest. On systems that cannot hand files to processes, such as Windows, the test is
// skipped.
func (c Config) RunProcesses(t *testing.T, n int, do func(ctx context.Context, w *switchyard.World) error) {
	t.Helper()
	c = c.withDefaults()
	if n < 1 || n > launch.MaxRanks {
		t.Fatalf("switchyardtest: RunProcesses of %d ranks, want 1 to %d", n, launch.MaxRanks)
	}
	for _, r := range c.Lost {
		if r < 0 || int(r) >= n {
			t.Fatalf("switchyardtest: Config.Lost has rank %d, which is outside 0..%d", r, n-1)
		}
	}
	if me := os.Getenv(childVariable); me != "" {
		c.runChild(t, me, do)
		return
	}
	switch runtime.GOOS {
	case "windows", "plan9", "js", "wasip1":
		t.Skipf("switchyardtest: %s cannot hand a port to a process", runtime.GOOS)
	}
	c.runParent(t, n)
}

// runParent starts the processes and waits for them.
func (c Config) runParent(t *testing.T, n int) {
	t.Helper()
	onlyOnce(t)
	port, addr, err := portForChild()
	if err != nil {
		t.Fatalf("switchyardtest: a port for the ranks to meet at: %v", err)
	}
	defer port.Close()
	limit := c.limit(t, 5*c.grace)
	ctx, cancel := t.Context(), func() {}
	if limit > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, limit+3*c.grace, fmt.Errorf("the processes have not ended within %v", limit+3*c.grace))
	}
	defer cancel()
	command, err := launch.Self(childFlags(t.Name(), limit, c.grace)...)
	if err != nil {
		t.Fatalf("switchyardtest: %v", err)
	}
	out, started := &output{to: t.Output(), ended: map[int]bool{}}, &Processes{list: make([]*os.Process, n)}
	if c.Observe != nil {
		out.observe = func(rank transport.Rank, line string) { c.Observe(started, rank, line) }
	}
	mayFail := func(rank int) bool { return slices.Contains(c.Lost, transport.Rank(rank)) }
	err = launch.Run(ctx, launch.Config{
		Ranks: n, Command: command, Env: append(append(os.Environ(), c.Env...), child{addr, limit, t.Name()}.variable()),
		Stdout: out, Stderr: out, Prefix: true, Grace: 3 * c.grace,
		Files: func(rank int) []*os.File {
			if rank != 0 {
				return nil
			}
			return []*os.File{port}
		},
		OnStart: started.add,
		MayFail: mayFail,
	})
	if err != nil {
		t.Fatalf("switchyardtest: %s", out.describe(err))
	}
	if err := out.missing(n, mayFail); err != nil {
		t.Fatalf("switchyardtest: %v", err)
	}
}

// Processes are the ranks that [Config.RunProcesses] has started.
type Processes struct {
	mu   sync.Mutex
	list []*os.Process
}

func (p *Processes) add(rank int, one *os.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list[rank] = one
}

// Signal sends a signal to the process of a rank. It is an error if that is not running: see
// [os.Process.Signal].
func (p *Processes) Signal(rank transport.Rank, sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rank < 0 || int(rank) >= len(p.list) {
		return fmt.Errorf("switchyardtest: rank %d is outside 0..%d", rank, len(p.list)-1)
	}
	if p.list[rank] == nil {
		return fmt.Errorf("switchyardtest: the process of rank %d has not started", rank)
	}
	return p.list[rank].Signal(sig)
}

// onlyOnce fails a test that has been here before: its processes could not tell the calls apart.
func onlyOnce(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("%s_%x", childVariable, t.Name())
	if os.Getenv(name) != "" {
		t.Fatalf("switchyardtest: %s calls RunProcesses twice: give each call a subtest, by t.Run", t.Name())
	}
	_ = os.Setenv(name, "called")
	t.Cleanup(func() { _ = os.Unsetenv(name) })
}

// portForChild opens a port as a file, which rank 0 gets.
func portForChild() (*os.File, string, error) {
	l, err := listen()
	if err != nil {
		return nil, "", err
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	return file, l.Addr().String(), err
}

// childFlags are those by which the test binary runs one test, and the program's own.
func childFlags(test string, limit, grace time.Duration) []string {
	flags := []string{"-test.run=" + only(test), "-test.count=1", fmt.Sprintf("-test.v=%t", testing.Verbose()), fmt.Sprintf("-test.short=%t", testing.Short())}
	if limit > 0 { // the process itself finds a rank that hangs, before
		flags = append(flags, fmt.Sprintf("-test.timeout=%v", limit+3*grace))
	}
	if f := flag.Lookup("test.gocoverdir"); f != nil && f.Value.String() != "" {
		flags = append(flags, "-test.gocoverdir="+f.Value.String())
	}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			flags = append(flags, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	return append(append(flags, "--"), flag.Args()...)
}

// only is the pattern of -test.run that a test and no other matches.
func only(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
