package interrupt

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// childVariable makes the test binary a program that gets the same signal twice.
const childVariable = "SWITCHYARD_TEST_INTERRUPTED_TWICE"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		interruptedTwice()
	}
	leaktest.Main(m)
}

// interruptedTwice exits with 7 unless the second signal kills it.
func interruptedTwice() {
	ctx, _ := Context(context.Background(), 0)
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGINT)
	<-ctx.Done()
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGINT)
	time.Sleep(200 * time.Millisecond) // sleep-ok: the system may deliver the signal late
	os.Exit(7)
}

// TestTheSameSignalAgainChangesNothing at once: programs such as timeout send it twice.
func TestTheSameSignalAgainChangesNothing(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1")
	require.Error(t, child.Run())
	require.Equal(t, 7, child.ProcessState.ExitCode(), "%v", child.ProcessState)
}

func TestSignalEndsTheContext(t *testing.T) {
	for s, want := range map[syscall.Signal]struct {
		says string
		code int
	}{syscall.SIGINT: {"interrupted", 130}, syscall.SIGTERM: {"terminated", 143}} {
		ctx, stop := Context(context.Background(), 0)
		_, over := Of(ctx)
		require.False(t, over)
		require.NoError(t, syscall.Kill(syscall.Getpid(), s))
		<-ctx.Done()
		why, over := Of(ctx)
		require.True(t, over)
		require.Equal(t, want.says, why.Error())
		require.Equal(t, want.code, why.Code())
		stop()
	}
}

// TestDeferred: SIGTERM asks and ends nothing, and an interrupt ends the context.
func TestDeferred(t *testing.T) {
	ctx, asked, stop := Deferred(context.Background())
	require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGTERM))
	<-asked
	require.NoError(t, ctx.Err())
	stop()

	ctx, asked, stop = Deferred(context.Background())
	require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGINT))
	<-ctx.Done()
	require.Equal(t, Signalled{syscall.SIGINT}, context.Cause(ctx))
	select {
	case <-asked:
		require.Fail(t, "an interrupt does not ask")
	default:
	}
	stop()
}

func TestContextOfATest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	why, over := Of(ctx)
	require.True(t, over)
	require.Equal(t, 130, why.Code())
}
