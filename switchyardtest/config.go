package switchyardtest

import (
	"context"
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config says how the ranks of a test run. Its zero value is what [Run] and [RunProcesses] use.
type Config struct {
	// Transport names what ranks speak over, as that of [switchyard.JoinConfig] does, and
	// Transports are more to choose from. Empty is memory for [Config.Run], and "auto" for
	// [Config.RunProcesses].
	Transport  string
	Transports []switchyard.Opener
	// Wrap, if it is not nil, puts something between each rank and its transport: faults by
	// transport/faulty, a slow network by transport/shaped. It is called once for each rank.
	Wrap func(transport.Transport) transport.Transport
	// Timeout bounds the work of the ranks: their context ends then, and the test fails with what
	// each of them was waiting for. 0 is until shortly before the deadline of the test binary (go
	// test -timeout), which would end it without a word about ranks.
	Timeout time.Duration

	// Env is added to the environment of processes, as "NAME=value".
	Env []string
	// Observe, if it is not nil, is called in the test with each line that a process writes, without
	// its end, one call at a time. p sends signals to the processes: to kill rank 2, say, once it
	// has written that it is in the middle of something.
	Observe func(p *Processes, rank transport.Rank, line string)
	// Lost lists ranks whose processes may end in any way, by a signal say: that fails no test, and
	// the others go on. Such a rank that is left when all others have returned is killed.
	Lost []transport.Rank

	grace time.Duration // of a rank to return once its context has ended; 0 means defaultGrace
}

// defaultGrace is how long a rank may take to return once its context has ended, and again once
// its world is closed.
const defaultGrace = 5 * time.Second

func (c Config) withDefaults() Config {
	if c.grace == 0 {
		c.grace = defaultGrace
	}
	return c
}

// Run runs do on n ranks, each a goroutine of this process with a world of its own, and returns
// when all have returned and their worlds are closed. It is [Config.Run] of the zero Config.
func Run(t testing.TB, n int, do func(ctx context.Context, w *switchyard.World) error) {
	t.Helper()
	Config{}.Run(t, n, do)
}

// Run runs do on n ranks, each a goroutine of this process. The context that do gets ends when
// another rank fails, when c.Timeout is over, and with the test. The test fails at the end of Run
// if a rank has returned an error, has panicked, or has ended its goroutine; do may call t.FailNow
// and t.SkipNow, and so testify's require. Run closes each world when do returns there; the ranks
// that still wait for one that has left get an error that names it.
func (c Config) Run(t testing.TB, n int, do func(ctx context.Context, w *switchyard.World) error) {
	t.Helper()
	j, stop := c.start(t, n, do)
	defer stop()
	j.run()
	j.report(t)
}

// Errors is Run for tests of failures: it returns what do has returned on each rank, and nothing
// ends the others when that is an error, but that the world of a rank is closed when do returns
// there. The test fails only if a rank panics, ends its goroutine or hangs.
func (c Config) Errors(t testing.TB, n int, do func(ctx context.Context, w *switchyard.World) error) []error {
	t.Helper()
	j, stop := c.start(t, n, do)
	defer stop()
	j.apart = true
	j.run()
	j.report(t)
	errs := make([]error, n)
	for r, o := range j.ranks {
		errs[r] = o.err
	}
	return errs
}

// Errors returns what do has returned on each of n ranks. It is [Config.Errors] of the zero Config.
func Errors(t testing.TB, n int, do func(ctx context.Context, w *switchyard.World) error) []error {
	t.Helper()
	return Config{}.Errors(t, n, do)
}

// start makes the ranks of this process ready to run.
func (c Config) start(t testing.TB, n int, do func(ctx context.Context, w *switchyard.World) error) (j *job, stop func()) {
	t.Helper()
	if n < 1 {
		t.Fatalf("switchyardtest: %d ranks, want at least 1", n)
	}
	if len(c.Env) > 0 || len(c.Lost) > 0 || c.Observe != nil {
		t.Fatalf("switchyardtest: Config.Env, Observe and Lost are for processes: use RunProcesses")
	}
	ranks, err := c.openAll(n)
	if err != nil {
		t.Fatalf("switchyardtest: a port for the ranks to meet at: %v", err)
	}
	return c.withDefaults().newJob(t, ranks, do)
}
