package switchyardtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard"
)

// childVariable tells a process that it is a rank of a test.
const childVariable = "SWITCHYARDTEST_CHILD"

// child is what the process of a rank has to know, besides its rank.
type child struct {
	addr  string        // where the ranks meet
	limit time.Duration // of their work; 0 is none
	test  string
}

func (c child) variable() string {
	return fmt.Sprintf("%s=%s %d %s", childVariable, c.addr, c.limit, c.test)
}

// parseChild reads what variable has written.
func parseChild(value string) (c child, err error) {
	fields := strings.SplitN(value, " ", 3)
	if len(fields) != 3 {
		return c, fmt.Errorf("%s is %q, want an address, a time and a test", childVariable, value)
	}
	limit, err := strconv.ParseInt(fields[1], 10, 64)
	return child{fields[0], time.Duration(limit), fields[2]}, err
}

// errStopped ends the context of a rank whose process is asked to end.
var errStopped = errors.New("the test ends this rank, as another one has failed or time is up")

// runChild does the work of one rank, which is all that this process is for, and ends the test.
func (c Config) runChild(t *testing.T, me string, do func(ctx context.Context, w *switchyard.World) error) {
	t.Helper()
	told, err := parseChild(me)
	if err == nil && told.test != t.Name() {
		err = fmt.Errorf("the process is a rank of %s, and %s calls RunProcesses too: give each call a subtest", told.test, t.Name())
	}
	var p place
	if err == nil {
		p, err = told.place()
	}
	if err != nil {
		t.Fatalf("switchyardtest: %v", err)
	}
	c.Timeout = told.limit
	j, stop := c.newJob(t, []opened{c.joining(p)}, do)
	defer stop()
	j.tell = func(err error) {
		if !errors.Is(context.Cause(j.ctx), errStopped) { // else it has failed because another one has
			announce(err)
		}
	}
	defer j.endWhenAsked()()
	j.run()
	fmt.Fprintln(os.Stderr, returnedMark)
	j.report(t)
	t.SkipNow() // what follows is for the test itself
}

// place is where this process is in the job.
func (c child) place() (p place, err error) {
	p.addr = c.addr
	if p.rank, err = strconv.Atoi(os.Getenv("RANK")); err != nil {
		return p, fmt.Errorf("RANK of a rank's process: %w", err)
	}
	if p.size, err = strconv.Atoi(os.Getenv("WORLD_SIZE")); err != nil {
		return p, fmt.Errorf("WORLD_SIZE of a rank's process: %w", err)
	}
	if p.rank > 0 {
		return p, nil
	}
	file := os.NewFile(3, "port")
	defer file.Close()
	p.port, err = net.FileListener(file)
	return p, err
}

// endWhenAsked ends the job's context when a signal asks the process to end, until stop is called.
// The signal stays caught then: the process still has to print why it ends.
func (j *job) endWhenAsked() (stop func()) {
	asked, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		select {
		case <-asked:
			j.end(errStopped)
		case <-over:
		}
	}()
	return func() { close(over) }
}
