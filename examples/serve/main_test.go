package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// asProgram has the test binary be the program.
const asProgram = "SWITCHYARD_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	leaktest.Main(m)
}

// quiet is a log that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// flags are the options of a command line with the ports of the system's choice.
func flags(t *testing.T, args ...string) options {
	t.Helper()
	o, err := parse(append([]string{"-http", "127.0.0.1:0"}, args...), io.Discard)
	require.NoError(t, err)
	return o
}

// job is a server whose ranks are goroutines.
type job struct {
	*server
	url   string
	grpc  string
	asked chan struct{}   // ends the front
	ends  []chan struct{} // each of the other ranks
	ranks []*member       // with the front
	over  []chan error    // what each rank has ended with
	stop  func()          // cancels all of them
	ctx   context.Context // of all
}

// startJob starts a server of n ranks, which ends with the test.
func startJob(t *testing.T, n int, o options) *job {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	j := &job{server: newServer(o, quiet()), asked: make(chan struct{}), ranks: make([]*member, n), stop: cancel, ctx: ctx}
	l, err := j.listen()
	require.NoError(t, err)
	j.url = "http://" + l.httpAddr.String()
	if l.grpc != nil {
		j.grpc = l.grpcAddr.String()
	}
	made := make(chan error, n)
	for r, end := range inproc.New(n) {
		go func() {
			m, err := newMember(ctx, switchyard.NewWorld(end), o.model)
			j.ranks[r] = m
			made <- err
		}()
		j.over = append(j.over, make(chan error, 1))
		j.ends = append(j.ends, make(chan struct{}))
	}
	for range n {
		require.NoError(t, <-made)
	}
	j.member = j.ranks[0]
	go func() { j.end(0, j.lead(ctx, j.asked, l, io.Discard)) }()
	for r := 1; r < n; r++ {
		go func() { j.end(r, j.ranks[r].runFollower(ctx, o, j.ends[r])) }()
	}
	t.Cleanup(func() {
		cancel()
		for r := range n {
			j.result(t, r)
		}
		l.stop(0)
	})
	client := newLoadClient(&o, j.url)
	require.NoError(t, client.awaitReady(ctx))
	client.close()
	return j
}

// end ends a rank as its process would.
func (j *job) end(rank int, err error) {
	if closed := j.ranks[rank].world.Close(); err == nil {
		err = closed
	}
	j.over[rank] <- err
}

// result waits for the end of a rank.
func (j *job) result(t *testing.T, rank int) error {
	t.Helper()
	select {
	case err := <-j.over[rank]:
		j.over[rank] <- err
		return err
	case <-time.After(20 * time.Second):
		require.Fail(t, "it goes on", "rank %d", rank)
		return nil
	}
}
