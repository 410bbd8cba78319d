// Package launch starts the ranks of a job as processes of this machine, under the environment
// variables that torchrun sets, and ends them together: when one fails, when the caller's context
// ends, or, on Unix, when the caller's process dies.
package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// MaxRanks bounds [Config.Ranks]: more processes on one machine are probably a typing error.
const MaxRanks = 1024

// DefaultGrace is the time between SIGTERM and SIGKILL if [Config.Grace] is zero.
const DefaultGrace = 5 * time.Second

// Config describes the job. Ranks and Command must be set; other fields may be zero.
type Config struct {
	// Ranks is the number of processes, from 1 to [MaxRanks].
	Ranks int
	// Command is the program, looked up in PATH, and its arguments. Every rank runs the same.
	Command []string
	// Env is the base of the ranks' environment; nil means that of this process.
	Env []string
	// Dir is the ranks' working directory; empty means that of this process.
	Dir string
	// MasterPort is the MASTER_PORT of the ranks; 0 chooses one that is free together with the next
	// one.
	MasterPort int
	// Stdout and Stderr get the ranks' output, a whole line per call and one call at a time even if
	// both are the same writer; nil discards it. The ranks' standard input is empty.
	Stdout, Stderr io.Writer
	// Prefix puts "[rank] " before every line of output.
	Prefix bool
	// Colour gives each rank's prefix a colour of its own, by ANSI escapes.
	Colour bool
	// Grace is the time from SIGTERM until ranks are killed; 0 means [DefaultGrace].
	Grace time.Duration
	// Files returns the open files that a rank gets, as descriptors 3, 4, …, where the system can pass
	// them on; nil is none. They stay the caller's.
	Files func(rank int) []*os.File
	// OnStart, if it is not nil, is called with each rank's process when that has started, before any
	// of its output is read.
	OnStart func(rank int, p *os.Process)
	// MayFail says for which ranks it is no failure to fail: the others go on, and what is left of
	// these is killed when the others have ended. nil is none.
	MayFail func(rank int) bool
	// Signals are forwarded to all ranks; nil forwards none. See [Forwarded].
	Signals <-chan os.Signal
	// Restarts is how often all ranks are started again after one has failed.
	Restarts int
	// OnRestart, if it is not nil, is called before each of these starts, counted from 1, with the
	// failure.
	OnRestart func(restart int, failure *ExitError)
	// Final, if it is not nil, tells of a failure whether another start would fail likewise: then
	// there is none.
	Final func(failure *ExitError) bool
}

func (c Config) withDefaults() Config {
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	if c.Stderr == nil {
		c.Stderr = io.Discard
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Files == nil {
		c.Files = func(int) []*os.File { return nil }
	}
	if c.MayFail == nil {
		c.MayFail = func(int) bool { return false }
	}
	return c
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("launch: "+format, args...)) }
	if c.Ranks < 1 || c.Ranks > MaxRanks {
		fault("%d ranks: want 1 to %d", c.Ranks, MaxRanks)
	}
	if len(c.Command) == 0 || c.Command[0] == "" {
		fault("no command to run")
	}
	if c.MasterPort < 0 || c.MasterPort > maxPort-1 {
		fault("master port %d: want 1 to %d, since the rendezvous takes the port after it, or 0 to choose", c.MasterPort, maxPort-1)
	}
	if c.Grace < 0 {
		fault("grace of %v: want 0 or more", c.Grace)
	}
	if c.Restarts < 0 {
		fault("%d restarts: want 0 or more", c.Restarts)
	}
	return errors.Join(faults...)
}

// Self returns a command that runs this program again with args.
func Self(args ...string) ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, errtext.Errorf("launch: finding this program: %w", err)
	}
	return append([]string{exe}, args...), nil
}
